"""Whether a launch without an image becomes a process or a unit, and what a unit has beside its command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.handle import Unit
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime import choosing, launching
from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk.accelerator import Exposure
from motorpool_sdk.backend import Version
from tests.agent.runtime.fakes import assignment

PROCESS = Version(version="1")
UNIT = Version(version="1", executors=("systemd",))
EITHER = Version(version="1", executors=("systemd", "process"))
WORKS = ExecutorStatus(executor="systemd", works=True)
IDLE = ExecutorStatus(executor="systemd", works=False, message="no systemd here")


@pytest.mark.parametrize(
    ("version", "choice", "status", "root", "expected"),
    [
        (PROCESS, "auto", WORKS, True, "systemd"),
        (PROCESS, "auto", WORKS, False, "process"),
        (PROCESS, "auto", IDLE, True, "process"),
        (PROCESS, "auto", None, True, "process"),
        (PROCESS, "process", WORKS, True, "process"),
        (PROCESS, "systemd", WORKS, False, "systemd"),
        (EITHER, "process", WORKS, True, "process"),
        (UNIT, "process", WORKS, True, "systemd"),
        (UNIT, "auto", WORKS, False, "systemd"),
    ],
)
def test_what_runs_without_an_image(
    tmp_path: Path, version: Version, choice: str, status: ExecutorStatus | None, root: bool, expected: str
) -> None:
    """
    The version's word comes before the operator's, and that before what the machine has.
    """
    known = {} if status is None else {"systemd": status}

    assert expected == choosing.bare_executor(version, choice, known, rights=root, assignment=assignment(tmp_path))


@pytest.mark.parametrize(("version", "choice"), [(PROCESS, "systemd"), (UNIT, "auto")])
def test_a_unit_where_there_are_none(tmp_path: Path, version: Version, choice: str) -> None:
    """
    A unit that is wanted is not silently a process: who wants it is said, and why there is none.
    """
    with pytest.raises(LaunchError, match=r"(`bare_executor`|version 1 of server) wants .* no systemd here"):
        choosing.bare_executor(version, choice, {"systemd": IDLE}, rights=True, assignment=assignment(tmp_path))


def test_devices_of_a_unit(tmp_path: Path) -> None:
    """
    A unit has the nodes of its devices, none without devices; it is held to none where a vendor does not say which.
    """
    wish = replace(assignment(tmp_path), memory_limit_bytes=5)
    named = Exposure(device_nodes=("/dev/acme0", "/dev/acmectl"))

    assert Unit(title="a1", memory_limit_bytes=5, device_nodes=(), backend="server") == launching.unit(wish)
    assert ("/dev/acme0", "/dev/acmectl") == launching.unit(wish, [named, named]).device_nodes
    assert launching.unit(wish, [named, Exposure(container_runtime="acme")]).device_nodes is None
