"""Finding the vLLM of a node."""

import os
import platform
from pathlib import Path

import pytest

from motorpool_sdk.environments import EnvironmentFault, Installed
from motorpool_vllm.installation import PLATFORMS, find, parts
from tests.plugins.backends.vllm.conftest import InstallVllm


def told(found: Installed | None) -> tuple[str, str, str] | None:
    """Command, version and framework of what was found."""
    return None if found is None else (found.path, found.version, found.framework(PLATFORMS))


def test_without_vllm_there_is_none() -> None:
    """
    A node without vLLM has none, and that is no fault.
    """
    assert None is find()


def test_the_command_on_path_is_found(install_vllm: InstallVllm) -> None:
    """
    Version and framework are what the packages beside the command tell; the command itself is not run.
    """
    path = install_vllm(vllm="0.32.0+cpu", torch="2.13.0+cpu")

    assert (str(path), "0.32.0+cpu", "cpu") == told(find())


@pytest.mark.parametrize("named", ["elsewhere", "elsewhere/bin/vllm"])
def test_the_operator_names_an_environment_or_its_command(
    install_vllm: InstallVllm, tmp_path: Path, named: str
) -> None:
    """
    MOTORPOOL_VLLM wins over what is on PATH.
    """
    install_vllm(vllm="0.9.2", torch="2.7.0")
    path = install_vllm("elsewhere", vllm="0.32.0", torch="2.13.0+rocm7.0")

    found = find({**os.environ, "MOTORPOOL_VLLM": str(tmp_path / named)})

    assert (str(path), "0.32.0", "rocm") == told(found)


def test_a_command_by_a_link_is_its_environments(install_vllm: InstallVllm, tmp_path: Path) -> None:
    """
    A link to an environment's command, as tools put it on PATH, leads to that environment's packages.
    """
    path = install_vllm("elsewhere", vllm="0.32.0", torch="2.13.0")
    (tmp_path / "bin" / "vllm").symlink_to(path)

    assert (str(path), "0.32.0", "cuda") == told(find())


def test_a_command_whose_python_lies_elsewhere(install_vllm: InstallVllm, tmp_path: Path) -> None:
    """
    Without a Python beside it, the interpreter of the command's first line is asked.
    """
    path = install_vllm("elsewhere", vllm="0.32.0", torch="2.13.0")
    moved = tmp_path / "bin" / "vllm"
    moved.write_text(f"#!/bin/sh {path.with_name('python')}\n")
    moved.chmod(0o755)

    assert (str(moved), "0.32.0", "cuda") == told(find())


@pytest.mark.parametrize(
    ("named", "message"),
    [("missing", "is no program here"), ("empty", "no vllm is installed there"), ("binary", "no interpreter")],
)
def test_a_named_vllm_that_is_none_is_a_fault(
    install_vllm: InstallVllm, tmp_path: Path, named: str, message: str
) -> None:
    """
    What the operator named is used or complained about, never replaced by another one.
    """
    install_vllm(vllm="0.32.0", torch="2.13.0")
    install_vllm("empty", torch="2.13.0")
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF")
    binary.chmod(0o755)
    name = binary if named == "binary" else tmp_path / named / "bin" / "vllm"

    with pytest.raises(EnvironmentFault, match=message):
        find({**os.environ, "MOTORPOOL_VLLM": str(name)})


def test_a_broken_one_on_path_is_not_used(install_vllm: InstallVllm, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A command on PATH that tells no version is left alone, and the agent's log says why.
    """
    path = install_vllm(torch="2.13.0")

    assert None is find()
    assert f"{path} is not used: the Python of {path} has no package vllm" in capsys.readouterr().out


def test_what_members_are_compared_by(install_vllm: InstallVllm) -> None:
    """
    The Python that runs it, and Ray where it can be started: a package without its command is of no use.
    """
    path = install_vllm(vllm="0.32.0", torch="2.13.0", ray="2.60.0")
    found = find()
    assert found is not None

    assert {"python": platform.python_version()} == parts(found)

    ray = path.with_name("ray")
    ray.write_text("#!/bin/sh\n")
    ray.chmod(0o755)
    assert {"python": platform.python_version(), "ray": "2.60.0"} == parts(found)


@pytest.mark.parametrize(
    ("versions", "framework"),
    [
        ({"vllm": "0.32.0", "torch": "2.13.0"}, "cuda"),
        ({"vllm": "0.32.0+cu129", "torch": "2.13.0+cu129"}, "cuda"),
        ({"vllm": "0.32.0", "torch": "2.13.0+cpu"}, "cpu"),
        ({"vllm": "0.11.0+rocm641", "torch": "2.9.0"}, "rocm"),
        ({"vllm": "0.9.2+das.opt1.dtk2504", "torch": "2.5.1"}, "dtk"),
        ({"vllm": "0.8.3+corex.4.3.0", "torch": "2.4.1"}, "corex"),
        ({"vllm": "0.23.0+empty", "torch": "2.10.0+cpu", "vllm-ascend": "0.23.0"}, "cann"),
        ({"vllm": "0.21.0", "torch": "2.8.0+metax3.3", "vllm-metax": "0.21.0"}, "maca"),
    ],
)
def test_the_framework_is_read_off_versions(versions: dict[str, str], framework: str) -> None:
    """
    A vendor's platform package says most, then the local part of vLLM's version, then torch's.
    """
    assert framework == Installed(path="", package="vllm", versions=versions).framework(PLATFORMS)
