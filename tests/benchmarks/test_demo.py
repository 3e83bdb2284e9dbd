import subprocess
from pathlib import Path

from benchmarks.demo import copy_as_clone


def test_a_copy_is_what_a_clone_would_be(tmp_path: Path) -> None:
    """
    Tracked and new files are copied; what git ignores, caches above all, and what was deleted are not.
    """
    root, target = tmp_path / "root", tmp_path / "target"
    for name in ("kept.txt", "folder/new.txt", ".cache/big", "deleted.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".gitignore").write_text(".cache/\n")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["git", "add", "kept.txt", "deleted.txt", ".gitignore"], cwd=root, check=True)
    (root / "deleted.txt").unlink()

    copy_as_clone(root, target)

    copied = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert {"kept.txt", "folder/new.txt", ".gitignore"} == {name for name in copied if not name.startswith(".git/")}
