import subprocess
import sys
from pathlib import Path

import pytest

from tests import tools
from tests.conftest import cannot_run_here


def test_a_missing_tool_is_told_by_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where PATH has none of the tools, their packages are what CI is to install; where it has them, nothing is.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ["espeak-ng", "iproute2", "nodejs", "npm", "postgresql", "systemd", "util-linux"] == tools.missing_packages()
    for tool in tools.PACKAGES:
        (tmp_path / tool).touch(mode=0o755)
    assert [] == tools.missing_packages()


def test_ci_learns_the_packages_before_anything_is_installed(tmp_path: Path) -> None:
    """
    The list prints with a bare Python, one package a line.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", tools.__file__],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "espeak-ng\niproute2\nnodejs\nnpm\npostgresql\nsystemd\nutil-linux\n" == done.stdout


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_what_cannot_run_is_skipped_for_users_and_fails_in_ci(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A test that a machine cannot run is skipped with its reason, but not silently in CI.
    """
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no network namespace"):
        cannot_run_here("no network namespace")
