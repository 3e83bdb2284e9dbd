"""Another authority in the place of the cluster's, while a model answers."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.promise("P6"), pytest.mark.promise("P3")]


def ca(fleet: Fleet, *words: str, check: bool = True) -> str:
    """Run a step; return what it said."""
    done = fleet.command("motorpool-controller", "ca", *words, "--data-dir", str(fleet.controller_dir), check=check)
    return done.stdout + done.stderr


@contextmanager
def asking(credentials: v1.DeploymentCredentials) -> Iterator[list[str]]:
    """Ask the model again and again during the block; give the answers."""
    answers: list[str] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            answers.append(ask(credentials))

    asker = threading.Thread(target=work)
    asker.start()
    try:
        yield answers
        # An exception ends the thread before it is told to.
        assert asker.is_alive()
    finally:
        over.set()
        asker.join()


def trusted_by(fleet: Fleet, node: str) -> int:
    """Return how many authorities a node's files say to trust."""
    return (fleet.folder / node / "identity" / "ca.pem").read_text().count("BEGIN CERTIFICATE")


def test_the_authority_is_rotated_while_a_model_answers(
    fleet: Fleet, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Agents in session take both authorities at once and the new one alone in the end, over a restart and without a pause
    of what runs; a command's context goes along. A machine that was away is named, refused in words, and enrols again.
    """
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    admin = tomllib.loads(fleet.client_file.read_text())["token"]
    fleet.start_agent("a")
    fleet.deploy("tiny", tiny_model)
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    fleet.start_agent("b")
    fleet.agents["b"].terminate()
    credentials = fleet.credentials("tiny")
    fleet.command(
        *("motorpool", "login", f"127.0.0.1:{fleet.public_port}", "--name", "lab"),
        *("--ca-file", str(fleet.controller_dir / "ca.pem")),
        MOTORPOOL_TOKEN=admin,
        MOTORPOOL_CONFIG="",
    )
    old_token = fleet.join_token()

    assert "`motorpool-controller ca rotate`" in ca(fleet, "switch", check=False)
    with asking(credentials) as answers:
        ca(fleet, "rotate")
        wait_for("nodes/a to trust both", lambda: trusted_by(fleet, "a") == 2 or None)
        wait_for("the controller to know", lambda: "1 of 2 nodes would be locked out" in ca(fleet, "status") or None)
        status = ca(fleet, "status")
        assert "nodes/b" in status
        assert "nodes/a" not in status
        assert "the old one alone" in status
        assert "ca switch` comes first" in ca(fleet, "finish", check=False)
        assert "nodes/b would be locked out" in ca(fleet, "switch", check=False)

        assert fleet.controller is not None
        fleet.controller.terminate()
        fleet.start_controller()
        noted = fleet.command("motorpool", "cluster", MOTORPOOL_CONFIG="").stderr
        assert "trusts those from now on" in noted
        fleet.wait_ready("a")

        ca(fleet, "switch", "--force")
        assert "Your role" in fleet.command("motorpool", "cluster", MOTORPOOL_CONFIG="").stdout
        assert "nodes/b would be locked out" in ca(fleet, "finish", check=False)
        ca(fleet, "finish", "--force")
        wait_for("nodes/a to trust the new one alone", lambda: trusted_by(fleet, "a") == 1 or None)
        assert "trusts those from now on" in fleet.command("motorpool", "cluster", MOTORPOOL_CONFIG="").stderr
        assert len(answers) > 0
    assert not (fleet.controller_dir / "ca-rotation.json").exists()

    fleet.launch_agent("b")
    log = fleet.folder / "b.log"
    wait_for("nodes/b to be told why", lambda: "motorpool-agent enroll --again" in log.read_text() or None)
    fleet.agents["b"].terminate()
    options = fleet.enroll_options("b")
    refused = fleet.command("motorpool-agent", "enroll", "--again", *options, "--token", old_token, check=False)
    assert refused.returncode == 3, refused
    fleet.command("motorpool-agent", "enroll", "--again", *options, "--token", fleet.join_token())
    fleet.start_agent("b")

    after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    assert (before.name, before.pid, before.restart_count) == (after.name, after.pid, after.restart_count)
    audited = fleet.command(
        *("motorpool-controller", "audit", "--json", "--data-dir", str(fleet.controller_dir))
    ).stdout.splitlines()
    methods = [json.loads(line)["method"] for line in audited]
    assert [
        "motorpool-controller ca rotate",
        "motorpool-controller ca switch --force",
        "motorpool-controller ca finish --force",
    ] == [each for each in methods if " ca " in each]
