"""What is left of engines that fail: attempts with their logs, the first one too; and no secret in what one reads."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.fleet import Fleet, Process, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PLANTED = ("hf_planted4token", "sk-planted4key", "planted4password")
ENGINE = """
import http.server, itertools, os, sys, threading, time
count = os.path.getsize(sys.argv[1])
with open(sys.argv[1], "a") as file:
    file.write("x")
print("attempt", count + 1, "token", os.environ["HF_TOKEN"], "arguments", sys.argv, os.environ["UPSTREAM"], flush=True)
print("key", os.environ["ENGINE_API_KEY"], flush=True)
if count < 3:
    print("fatal: error number", count + 1, "with", os.environ["HF_TOKEN"], flush=True)
    sys.exit(3)
def talk():
    for number in itertools.count():
        print("line", number, flush=True)
        time.sleep(0.02)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
threading.Thread(target=talk, daemon=True).start()
http.server.HTTPServer((sys.argv[2], int(sys.argv[3])), Handler).serve_forever()
"""
DECLARATION = """
name: failing
health_path: /health
api_key_env: ENGINE_API_KEY
start_timeout: 30s
claim: {{memory_bytes: 16MiB}}
options:
  - {{option: api-key}}
versions:
  - version: "1.0"
    command: [python3, {engine}, {counter}, "{{{{node_ip}}}}", "{{{{port}}}}"]
"""


@pytest.fixture(name="failing")
def make_failing(tmp_path: Path) -> Iterator[Fleet]:
    """
    A fleet with a deployment whose engine fails three times before it runs, and writes its secrets into its log.
    """
    (tmp_path / "engines").mkdir()
    (tmp_path / "engine.py").write_text(ENGINE)
    (tmp_path / "counter").touch()
    (tmp_path / "model.txt").write_text("a model")
    declaration = tmp_path / "failing.yaml"
    declaration.write_text(DECLARATION.format(engine=tmp_path / "engine.py", counter=tmp_path / "counter"))
    fleet = Fleet(tmp_path, tmp_path / "engines")
    try:
        fleet.start_controller()
        fleet.start_agent("a", "--log-level", "debug", "--last-attempts", "1")
        fleet.command("motorpool", "backends", "apply", "-f", str(declaration))
        fleet.command(
            *("motorpool", "deploy", "flaky", "--backend", "failing", "--model", str(tmp_path / "model.txt")),
            *("--env", f"HF_TOKEN={PLANTED[0]}", "--env", f"UPSTREAM=http://me:{PLANTED[2]}@proxy.example"),
            *("--", "--api-key", PLANTED[1]),
        )
        yield fleet
    finally:
        fleet.close()


def test_attempts_and_no_secrets(failing: Fleet) -> None:
    """
    Of three failures the first and the last are kept, as the agent was told: shown by `describe` with times, status and
    cause, read by `logs --attempt`. Neither these, nor events, lists, documents or logs of agent and controller have a
    secret.
    """
    running = failing.wait_state("flaky", v1.INSTANCE_STATE_RUNNING, timeout_seconds=110)
    name = running.name.removeprefix("instances/")

    def motorpool(*words: str) -> str:
        return failing.command("motorpool", *words).stdout

    described = motorpool("describe", running.name)
    attempts = json.loads(motorpool("describe", running.name, "-o", "json"))["attempts"]

    assert [1, 3] == [attempt["number"] for attempt in attempts]
    assert {("EXITED", 3)} == {(each["failure"]["reason"], each["failure"]["exit_code"]) for each in attempts}
    assert "fatal: error number 1 with ***" == attempts[0]["failure"]["log_tail"][-1]
    assert re.search(r"^1 +\S+ \S+ +\S+ \S+ +EXITED +status 3 ", described, re.MULTILINE)
    assert "… 1 more" in described
    assert "fatal: error number 1 with ***" == motorpool("logs", name, "--attempt", "1").splitlines()[-1]
    assert "fatal: error number 3 with ***" == motorpool("logs", name, "--previous").splitlines()[-1]
    assert "error number 1" in motorpool("logs", name, "--attempt", "-2")
    assert re.match(r"20\d\d-\S+Z line \d+$", motorpool("logs", name, "--tail", "1", "-t").strip())
    gone = failing.command("motorpool", "logs", name, "--attempt", "2", check=False)
    assert (5, True) == (gone.returncode, "there are those of: 1, 3, 4 " in gone.stderr), gone.stderr

    token = failing.command(
        *("motorpool-controller", "token", "create", "--role", "reader", "--data-dir", str(failing.controller_dir))
    ).stdout.strip()
    everything = [described, str(attempts), motorpool("events"), motorpool("describe", "flaky")]
    everything += [motorpool("logs", name, f"--attempt={number}") for number in (1, -1, 0)]
    commands = ("events", "instances", "deployments", "nodes", "backends", f"describe {name}", "describe flaky")
    everything += [
        failing.command("motorpool", *command.split(), "-o", form, MOTORPOOL_TOKEN=token).stdout
        for command in commands
        for form in ("table", "json", "yaml")
    ]
    assert failing.controller is not None
    everything += [process.log.read_text() for process in (failing.controller, failing.agents["a"])]
    key = failing.credentials("flaky").api_key
    for secret in (*PLANTED, key):
        assert not [text for text in everything if secret in text], secret


def test_following_over_a_controller_that_is_replaced(failing: Fleet, tmp_path: Path) -> None:
    """
    Who follows a log has every line once, though the controller is killed and started again meanwhile.
    """
    running = failing.wait_state("flaky", v1.INSTANCE_STATE_RUNNING, timeout_seconds=110)
    follower = Process(
        ["motorpool", "logs", running.name, "--follow", "--tail", "-1"],
        tmp_path / "followed.log",
        {**os.environ, "MOTORPOOL_CONFIG": str(failing.client_file)},
    )

    def read() -> list[str]:
        return follower.log.read_text().splitlines()

    try:
        wait_for("the first lines", lambda: "line 9" in read())
        assert failing.controller is not None
        failing.controller.kill()
        before = wait_for("it to be told", lambda: read() if any("broke" in line for line in read()) else None)
        failing.start_controller()
        seen = wait_for("it to go on", lambda: read() if len(read()) > len(before) + 50 else None)
    finally:
        follower.kill()
    [told] = (number for number, line in enumerate(seen) if "broke" in line)
    lines = [*seen[:told], *seen[told + 1 :]]
    whole = failing.command("motorpool", "logs", running.name, "--tail", "-1").stdout.splitlines()

    assert lines == whole[: len(lines)]
