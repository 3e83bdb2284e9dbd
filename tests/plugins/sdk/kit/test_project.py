import os
import subprocess
import sys
from pathlib import Path

import pytest

from motorpool_sdk.kit.project import ProjectError, write_project
from motorpool_sdk.manifest import Kind, read

CLEAN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=cwd, env=CLEAN, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(Kind))
def test_a_new_plugin_passes_its_own_tests_at_once(kind: Kind, tmp_path: Path) -> None:
    """
    What `new` writes passes the contract and its own tests as it stands, and is typed and formatted.
    """
    folder = write_project(kind, "my_own", tmp_path)

    tested = run("pytest", "-q", "-p", "no:asyncio", cwd=folder)
    typed = run("mypy", "--strict", "--config-file=", "-p", "motorpool_my_own", cwd=folder)
    linted = run("ruff", "check", "--isolated", "--line-length=120", "--select=E,F,I,B,UP,SIM", ".", cwd=folder)
    formatted = run("ruff", "format", "--isolated", "--line-length=120", "--check", ".", cwd=folder)

    assert 0 == tested.returncode, tested.stdout + tested.stderr
    assert "passed" in tested.stdout
    assert "failed" not in tested.stdout
    assert 0 == typed.returncode, typed.stdout
    assert 0 == linted.returncode, linted.stdout
    assert 0 == formatted.returncode, formatted.stdout


@pytest.mark.parametrize("kind", list(Kind))
def test_its_manifest_provides_its_name(kind: Kind, tmp_path: Path) -> None:
    """
    The manifest is of the kind and name that were asked for, and no template's mark is left anywhere.
    """
    folder = write_project(kind, "acme", tmp_path)

    manifest = read(folder / "motorpool_acme" / "plugin.toml", "motorpool_acme")
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]

    assert (kind, "acme", ()) == (manifest.kind, manifest.provides, manifest.findings)
    assert tmp_path / "motorpool-acme" == folder
    assert len(texts) >= 5
    assert not any("$" in text for text in texts)


@pytest.mark.parametrize("name", ["", "Acme", "a-b", "1a", "class", "a" * 64, "../a"])
def test_a_name_that_cannot_be(name: str, tmp_path: Path) -> None:
    """
    A name that no manifest may have is refused, and nothing is written.
    """
    with pytest.raises(ProjectError, match="use lower case letters"):
        write_project(Kind.BACKEND, name, tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """
    A folder that is there stays as it is.
    """
    write_project(Kind.BACKEND, "acme", tmp_path)

    with pytest.raises(ProjectError, match="exists already; choose another name"):
        write_project(Kind.ACCELERATOR, "acme", tmp_path)
