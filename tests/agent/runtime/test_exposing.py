"""How claimed devices become variables of what runs on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.runtime import exposing
from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk import Exposure
from tests.agent.runtime.fakes import assignment

ASCEND = Exposure(env={"RT_VISIBLE": "6,7"}, container_env={"RT_VISIBLE": "0,1", "VISIBLE": "6,7"})
NVIDIA = Exposure(env={"CUDA_VISIBLE_DEVICES": "GPU-1"})


@pytest.mark.parametrize(
    ("in_container", "expected"),
    [
        (False, {"RT_VISIBLE": "6,7", "CUDA_VISIBLE_DEVICES": "GPU-1"}),
        (True, {"RT_VISIBLE": "0,1", "VISIBLE": "6,7", "CUDA_VISIBLE_DEVICES": "GPU-1"}),
    ],
)
def test_a_container_counts_its_devices_anew(tmp_path: Path, *, in_container: bool, expected: dict[str, str]) -> None:
    """
    A container is told its devices in its own numbers where the vendor has such; a process, and others, by the host's.
    """
    assert expected == exposing.environment(assignment(tmp_path), [ASCEND, NVIDIA], in_container=in_container)


def test_what_is_for_containers_only_is_given_to_no_process(tmp_path: Path) -> None:
    """
    A partition that exists in containers alone has a container's variables; a process is refused, with why and what to
    do.
    """
    virtual = Exposure(container_env={"VISIBLE": "100"}, container_only="virtual NPU 100 exists in containers only")

    assert {"VISIBLE": "100"} == exposing.environment(assignment(tmp_path), [virtual], in_container=True)
    with pytest.raises(LaunchError, match=r"virtual NPU 100 exists in containers only; deploy with an image") as raised:
        exposing.environment(assignment(tmp_path), [virtual])
    assert ("DEVICE_CONTAINER_ONLY", True) == (raised.value.reason, raised.value.final)


def test_a_deployment_sets_none_of_them(tmp_path: Path) -> None:
    """
    A variable that only containers get is the vendor's there, too.
    """
    wish = replace(assignment(tmp_path), env={"VISIBLE": "0"})

    assert "RT_VISIBLE" in exposing.environment(wish, [ASCEND])
    with pytest.raises(LaunchError, match="VISIBLE says which devices"):
        exposing.environment(wish, [ASCEND], in_container=True)
