import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUF = Path(sys.executable).parent / "buf"


def checked(protos: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return how the build's check of these protos ends."""
    image = folder / "image.binpb"
    subprocess.run([BUF, "build", protos, "-o", image], check=True, capture_output=True)
    return subprocess.run(
        [sys.executable, ROOT / "proto" / "roles.py", image], check=False, capture_output=True, text=True
    )


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("option", "missing"),
    [
        ("option (role) = ROLE_READER;", False),
        ("", True),
        ("option deprecated = true;", True),
        ("option (role) = ROLE_UNSPECIFIED;", True),
    ],
)
def test_a_method_without_a_role_fails_the_build(tmp_path: Path, option: str, missing: bool) -> None:
    """
    A new method that does not say who may call it ends the build, which names it; one that does passes.
    """
    shutil.copytree(ROOT / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("python", ".cache"))
    (tmp_path / "proto/motorpool/v1/new_service.proto").write_text(
        'syntax = "proto3";\npackage motorpool.v1;\nimport "google/protobuf/empty.proto";\n'
        'import "motorpool/v1/role.proto";\nservice NewService {\n'
        f"  rpc Invent(google.protobuf.Empty) returns (google.protobuf.Empty) {{ {option} }}\n}}\n"
    )

    done = checked(tmp_path / "proto", tmp_path)

    assert missing == (done.returncode == 1), done.stderr
    assert missing == ("motorpool.v1.NewService.Invent has no role" in done.stderr)


def test_what_stands_here_passes(tmp_path: Path) -> None:
    """
    The protos as they are have a role for each method, and the check is part of `make check`.
    """
    assert (0, "") == ((done := checked(ROOT / "proto", tmp_path)).returncode, done.stderr)
    assert "proto/roles.py" in (ROOT / "Makefile").read_text()
