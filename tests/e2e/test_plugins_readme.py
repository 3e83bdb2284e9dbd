"""The page that teaches writing a vendor's plugin, carried out: it ends with a model on the stranger's card."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.conftest import ROOT
from tests.e2e.environment import Environment, run
from tests.e2e.fleet import Fleet, wait_for
from tests.e2e.llama_server import environment_of, install_llama_server

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w/.]+)`\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
TOTAL, USED = 8 * 2**30, 3 * 2**20


@pytest.fixture(name="project")
def make_project(tmp_path: Path) -> Path:
    """The page's files, in the folder that it says."""
    project = tmp_path / "motorpool-zed"
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project


@pytest.fixture(name="path")
def make_path(tmp_path: Path) -> str:
    """A PATH on which the vendor's tool is, which tells of two cards."""
    tool = tmp_path / "bin" / "zed-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\necho Z-1,Zed One,{TOTAL},{TOTAL}\necho Z-2,Zed One,{TOTAL},{USED}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return f"{tool.parent}{os.pathsep}{os.environ['PATH']}"


def test_the_pages_plugin_runs_a_model_on_its_card(
    fleet: Fleet, tmp_path: Path, project: Path, path: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Every file and every command of the page: the contract holds, the kit verifies it, the agent finds the cards, a
    model is placed on the one with room, and its engine sees that card by the vendor's variable.
    """
    assert {"pyproject.toml", "motorpool_zed/plugin.toml", "motorpool_zed/__init__.py", "test_zed.py"} == set(FILES)
    environment = Environment(tmp_path / "environment")
    environment.make()
    environment.install(project)
    install, verify, devices = (shlex.split(command) for command in COMMANDS)
    assert ["pip", "install", "./motorpool-zed"] == install  # done by Environment.install, which fetches nothing
    run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", project / "test_zed.py", PATH=path)

    assert "motorpool-sdk" == verify.pop(0)
    verified = run(environment.python, "-m", "motorpool_sdk.kit", *verify, PATH=path)
    assert "2: Z-1 Zed One 8.0 GiB, Z-2 Zed One 8.0 GiB" in verified
    assert "FAILED" not in verified

    assert "motorpool-agent" == devices.pop(0)
    monkeypatch.setenv("PATH", path)
    told = json.loads(run(*environment.agent_command, *devices, "--output", "json"))
    assert {"Z-1": TOTAL, "Z-2": USED} == {each["device_id"]: each["usage"]["used_bytes"] for each in told["devices"]}

    fleet.agent_command = environment.agent_command
    monkeypatch.setenv("MOTORPOOL_LLAMA_SERVER", str(install_llama_server(fleet, "ZED0", "ZED_VISIBLE_CARDS")))
    fleet.start_agent()

    def measured() -> bool:
        listed = fleet.nodes.ListDevices(v1.ListDevicesRequest(parent="nodes/a"), timeout=10).devices
        return [TOTAL, USED] == [status.usage.used_bytes for status in listed]

    wait_for("both cards' figures", measured)
    fleet.deploy("tiny", tiny_model, cpu_offloading=False)
    running = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)

    (claim,) = running.placement.members[0].claim.devices
    assert ("zed", "Z-2") == (running.placement.framework, claim.device_id)
    assert "Z-2" == environment_of(running.pid)["ZED_VISIBLE_CARDS"]
