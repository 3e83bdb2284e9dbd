import subprocess
import sys
from pathlib import Path

import pytest

from tests import tools
from tests.conftest import cannot_run_here

PROGRAMS = [tool for tool in tools.PACKAGES if not tool.startswith("/")]
BRINGING_PROGRAMS = [
    "bash",
    "default-jdk-headless",
    "espeak-ng",
    "g++",
    "golang-go",
    "iproute2",
    "jq",
    "nodejs",
    "npm",
    "pkg-config",
    "postgresql",
    "prometheus",
    "protobuf-compiler",
    "protobuf-compiler-grpc",
    "protobuf-compiler-grpc-java-plugin",
    "protoc-gen-go-1-5",
    "protoc-gen-go-grpc",
    "ruby",
    "ruby-grpc-tools",
    "systemd",
    "util-linux",
]


def test_a_missing_tool_is_told_by_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where PATH has none of the tools, their packages are what CI is to install; where it has them, nothing is.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    assert BRINGING_PROGRAMS == tools.missing_packages(PROGRAMS)
    for tool in PROGRAMS:
        (tmp_path / tool).touch(mode=0o755)
    assert [] == tools.missing_packages(PROGRAMS)


def test_a_missing_library_is_told_by_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A library is there where the file is that stands for it.
    """
    header = tmp_path / "grpcpp.h"
    monkeypatch.setitem(tools.PACKAGES, str(header), "libgrpc++-dev")

    assert ["libgrpc++-dev"] == tools.missing_packages([str(header)])
    header.touch()
    assert [] == tools.missing_packages([str(header)])


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
    assert set(BRINGING_PROGRAMS) <= set(done.stdout.splitlines()) <= set(tools.PACKAGES.values())


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
