"""What a rack does to an agent: killed at its downloads, without ports, without a controller; and who sees what."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, engines_below, free_port, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.promise("P1")
@pytest.mark.timeout(300)
def test_an_agent_killed_while_it_installs_an_engine_leaves_the_rest_to_its_successor(
    fleet: Fleet, tiny_model: Path
) -> None:
    """
    The installer ends with its agent; the successor installs the engine anew, and exactly one instance of it runs.
    """
    (fleet.folder / "a").mkdir()  # with engines of its own: none
    agent = fleet.start_agent()
    fleet.deploy("tiny", tiny_model)
    fleet.wait_state("tiny", v1.INSTANCE_STATE_DOWNLOADING)
    engines = fleet.folder / "a" / "engines" / "llama_cpp"
    wait_for("the installation to be under way", lambda: any(engines.glob(".*.partial/lib/*")))
    agent.kill()
    wait_for("the installer to be gone", lambda: not engines_below(engines))

    fleet.start_agent()
    wait_for("the engine", lambda: any(engines.glob("*/manifest.json")), 200)
    after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    ask(fleet.credentials("tiny"))
    assert {after.pid} == _listeners(fleet)
    assert 0 == after.restart_count
    assert not list(engines.glob(".*.partial"))


def test_an_instance_without_a_port_says_how_to_get_one(fleet: Fleet, tiny_model: Path) -> None:
    """
    With every port of the range taken, the instance fails as NO_FREE_PORT and runs as soon as one is free.
    """
    port = free_port()
    fleet.start_agent("a", "--port-range", f"{port}-{port}")
    fleet.deploy("first", tiny_model)
    fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)
    fleet.deploy("second", tiny_model)
    failed = fleet.wait_state("second", v1.INSTANCE_STATE_ERROR)

    shown = fleet.command("motorpool", "describe", failed.name).stdout
    words = " ".join(shown.split())
    assert "NO_FREE_PORT" == failed.last_failure.reason
    assert "NO_FREE_PORT" in words
    assert f"{port}-{port}" in words
    assert "--port-range" in words

    fleet.delete("first")
    fleet.wait_state("second", v1.INSTANCE_STATE_RUNNING)


@pytest.mark.promise("P1")
def test_what_ends_without_agent_and_controller_is_started_again_without_the_controller(
    fleet: Fleet, tiny_model: Path
) -> None:
    """
    A node whose controller is away restarts what ended, and adopts what did not; the controller learns both later.
    """
    agent = fleet.start_agent()
    for name in ("ends", "stays"):
        fleet.deploy(name, tiny_model)
    ends = fleet.wait_state("ends", v1.INSTANCE_STATE_RUNNING)
    stays = fleet.wait_state("stays", v1.INSTANCE_STATE_RUNNING)
    credentials = fleet.credentials("ends")
    assert fleet.controller is not None
    fleet.controller.kill()
    agent.kill()
    os.kill(ends.pid, signal.SIGKILL)
    wait_for("the engine to be gone", lambda: _listeners(fleet) == {stays.pid})

    fleet.launch_agent()
    wait_for("both to listen", lambda: len(_listeners(fleet) - {ends.pid}) == 2)
    wait_for("an answer, once the model is loaded", lambda: _answers(credentials))

    fleet.start_controller()
    fleet.wait_ready()
    # It is said after the node is in session again: until then the record is what it was when the controller ended.
    wait_for("the restart to be told", lambda: any(one.restart_count for one in fleet.instances("ends")))
    again = fleet.wait_state("ends", v1.INSTANCE_STATE_RUNNING)
    kept = fleet.wait_state("stays", v1.INSTANCE_STATE_RUNNING)
    assert {again.pid, stays.pid} == _listeners(fleet)
    assert (1, signal.SIGKILL) == (again.restart_count, again.last_failure.signal)
    assert (stays.pid, stays.pid_start_ticks, 0) == (kept.pid, kept.pid_start_ticks, kept.restart_count)


def test_an_engine_listens_where_its_exposure_says_and_nowhere_else(fleet: Fleet, tiny_model: Path) -> None:
    """
    Exposed to the node's address it listens there alone, exposed locally on loopback alone.
    """
    fleet.start_agent("a", "--node-ip", "127.0.0.2")
    fleet.deploy("node", tiny_model)
    fleet.deploy("local", tiny_model, exposure=v1.EXPOSURE_LOCAL)

    assert ["127.0.0.2"] == _addresses(fleet.wait_state("node", v1.INSTANCE_STATE_RUNNING).pid)
    assert ["127.0.0.1"] == _addresses(fleet.wait_state("local", v1.INSTANCE_STATE_RUNNING).pid)


def test_an_api_key_is_seen_by_nobody_but_its_owner(fleet: Fleet, tiny_model: Path) -> None:
    """
    The key of a deployment is in no argument, log, status or shown launch, and in files of mode 0600 only.
    """
    fleet.start_agent()
    fleet.deploy("tiny", tiny_model)
    seen = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    credentials = fleet.credentials("tiny")
    ask(credentials)
    key = credentials.api_key

    said = [
        fleet.command(*command).stdout
        for command in (
            ("motorpool-agent", "status", "--data-dir", str(fleet.folder / "a"), "--output", "json"),
            ("motorpool", "describe", seen.name),
            ("motorpool", "describe", "deployments/tiny"),
            ("motorpool", "logs", seen.name),
            ("motorpool", "events"),
        )
    ]
    assert key
    assert not [text for text in (*said, *_arguments(), str(seen)) if key in text]
    holders = [path for path in fleet.folder.rglob("*") if path.is_file() and _below(path, fleet.engines, key)]
    assert {0o600} == {path.stat().st_mode & 0o777 for path in holders}


def _below(path: Path, engines: Path, key: str) -> bool:
    return not path.resolve().is_relative_to(engines) and key.encode() in path.read_bytes()


def _arguments() -> list[str]:
    """
    Return the command line of every process, as `ps` shows them.
    """
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def _listeners(fleet: Fleet) -> set[int]:
    """
    Return the processes of this fleet's instances that listen.
    """
    return {process.pid for process in engines_below(fleet.folder / "a") if _addresses(process.pid)}


def _addresses(pid: int) -> list[str]:
    """
    Return the addresses at which a process listens.
    """
    try:
        connections = psutil.Process(pid).net_connections("inet")
    except psutil.Error:
        return []
    return [each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN]


def _answers(credentials: v1.DeploymentCredentials) -> bool:
    """
    Whether the engine answers: llama.cpp listens, with 503, before it has loaded the model.
    """
    try:
        return bool(ask(credentials))
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            raise
        return False
