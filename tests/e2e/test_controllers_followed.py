"""Commands that go on over a change of leader: what they follow comes once, and nothing is left out."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from motorpool import v1
from tests.conftest import need
from tests.e2e.controllers import Controllers, two_controllers
from tests.e2e.fleet import BIN, Process, wait_for
from tests.postgresql import PostgresServer

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

ENGINE = """
import http.server, itertools, os, sys, threading, time
def talk():
    for number in itertools.count():
        print("line", number, flush=True)
        time.sleep(0.02)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists(os.environ.get("AWAITED", "/")) else 503)
        self.end_headers()
    def log_message(self, *arguments):
        pass
threading.Thread(target=talk, daemon=True).start()
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
DECLARATION = """
name: talking
health_path: /health
start_timeout: 300s
claim: {{memory_bytes: 16MiB}}
versions:
  - version: "1.0"
    command: [python3, {engine}, "{{{{node_ip}}}}", "{{{{port}}}}"]
"""


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path, engines: Path) -> Iterator[Controllers]:
    """
    Two controllers, and an engine that talks all the time, and is ready once the file in AWAITED is there.
    """
    need(["pg_ctlcluster"])
    (tmp_path / "engine.py").write_text(ENGINE)
    (tmp_path / "model.txt").write_text("a model")
    declaration = tmp_path / "talking.yaml"
    declaration.write_text(DECLARATION.format(engine=tmp_path / "engine.py"))
    with contextlib.closing(PostgresServer()) as server, two_controllers(tmp_path, engines, server) as fleet:
        fleet.command("motorpool", "backends", "apply", "-f", str(declaration))
        yield fleet


def test_commands_go_on_when_another_one_leads(fleet: Controllers, tmp_path: Path) -> None:
    """
    Over a leader that is killed and one that is told to stop `events -f`, `deployments -w`, `logs -f` and `deploy
    --wait` go on: each event and each line once and in order, each deployment as it is in the end, no wait given up.
    """
    talking = ("--backend", "talking", "--model", str(tmp_path / "model.txt"))
    awaited, servers = tmp_path / "awaited", ",".join(fleet.address(each) for each in fleet.ports)
    fleet.command("motorpool", "deploy", "talk", *talking)
    instance = fleet.wait_state("talk", v1.INSTANCE_STATE_RUNNING)
    with (
        Follower(fleet, "events", "events", "--follow", "--output", "json") as events,
        Follower(fleet, "deployments", "deployments", "--watch", "--output", "json") as deployments,
        Follower(fleet, "logs", "logs", instance.name, "--follow", "--tail", "-1") as logs,
        Follower(fleet, "wait", "deploy", "late", *talking, "--env", f"AWAITED={awaited}", "--wait") as waiting,
    ):

        def told_of(name: str) -> None:
            made = ("motorpool", "deploy", name, "--model", "/models/none.gguf", "--replicas", "0")
            fleet.command(*made, MOTORPOOL_SERVER=servers)
            wait_for(f"{name} to be told", lambda: f"deployments/{name}" in events.out() and name in deployments.out())

        wait_for("the first line", lambda: "line 1\n" in logs.out())
        wait_for("the wait", lambda: "deployments/late" in deployments.out())
        for leader, other, end in (("a", "b", Process.kill), ("b", "a", Process.terminate)):
            end(fleet.running[leader])
            fleet.wait_leads(other)
            told_of(f"under-{other}")
            wait_for("the node to be back", lambda: fleet.nodes_ready() == 1)
            logs.wait_for_more()
            fleet.run_controller(leader)
        assert waiting.running()
        awaited.touch()
        assert 0 == waiting.ended(), waiting.errors()
        told_of("last")
        listed = fleet.command("motorpool", "deployments", "--output", "json", MOTORPOOL_SERVER=servers)
        present = json.loads(listed.stdout)["deployments"]
        wait_for("each to be shown as it is", lambda: latest(deployments) == {each["name"]: each for each in present})
    whole = fleet.command("motorpool", "logs", instance.name, "--tail", "-1", MOTORPOOL_SERVER=servers).stdout
    told = [json.dumps(each) for each in documents(events.out())]
    created = [each["subject"] for each in map(json.loads, told) if each["subject"].startswith("deployments/")]

    assert whole.startswith(logs.out())
    assert len(told) == len(set(told))
    expected = [f"deployments/{name}" for name in ("talk", "late", "under-b", "under-a", "last")]
    assert expected == [each for each in dict.fromkeys(created) if each in expected]
    assert "http://" in waiting.out()


class Follower:
    """
    One of the commands, with what it prints in files.
    """

    def __init__(self, fleet: Controllers, name: str, *words: str) -> None:
        self._out, self._errors = fleet.folder / f"{name}.out", fleet.folder / f"{name}.err"
        servers = ",".join(fleet.address(each) for each in fleet.ports)
        with self._out.open("wb") as out, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [str(BIN / "motorpool"), *words],
                env={**fleet.environment, "MOTORPOOL_CONFIG": str(fleet.client_file), "MOTORPOOL_SERVER": servers},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def running(self) -> bool:
        return self._process.poll() is None

    def ended(self) -> int:
        return self._process.wait(60)

    def out(self) -> str:
        # Whole lines.
        return "".join(line for line in self._out.read_text().splitlines(keepends=True) if line.endswith("\n"))

    def wait_for_more(self) -> None:
        before = self.out()
        wait_for("more", lambda: len(self.out()) > len(before))

    def errors(self) -> str:
        return self._errors.read_text()


def documents(text: str) -> list[Any]:
    """
    Return JSON documents that come one after another.
    """
    decoder, found, at = json.JSONDecoder(), [], 0
    while text[at:].strip():
        document, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        found.append(document)
    return found


def latest(follower: Follower) -> dict[str, Any]:
    """
    Return what was shown last of each deployment.
    """
    first, *changes = documents(follower.out())
    return {each["name"]: each for each in (*first["deployments"], *changes)}
