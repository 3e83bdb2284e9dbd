"""The clients in other languages against a real controller and agent, over TLS with an operator's token."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.conftest import ROOT
from tests.e2e.fleet import BIN, Fleet, Process, engines_below, wait_for
from tests.tools import CLIENTS

EXAMPLES = ROOT / "examples" / "clients"
BUILDS = ROOT / ".cache" / "clients"
COMMANDS: dict[str, list[str]] = {
    "buf": [str(EXAMPLES / "buf" / "motorpool.sh")],
    "cpp": [str(BUILDS / "cpp" / "bin" / "motorpool")],
    "go": [str(BUILDS / "go" / "bin" / "motorpool")],
    "java": [str(BUILDS / "java" / "bin" / "motorpool")],
    "ruby": ["ruby", "-I", str(BUILDS / "ruby"), str(EXAMPLES / "ruby" / "motorpool.rb")],
    "typescript": ["node", str(BUILDS / "typescript" / "dist" / "motorpool.js")],
}
BROKEN_OFF = "the watch broke off, and goes on at its bookmark"

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("clients")]
every_language = pytest.mark.parametrize(
    "language", [pytest.param(name, marks=pytest.mark.needs(*CLIENTS[name])) for name in sorted(COMMANDS)]
)


@pytest.fixture(scope="module", name="shared")
def make_shared(tmp_path_factory: pytest.TempPathFactory, engines: Path) -> Iterator[Fleet]:
    """
    A controller and one agent for all languages.
    """
    fleet = Fleet(tmp_path_factory.mktemp("clients"), engines)
    try:
        fleet.start_controller()
        fleet.start_agent()
        yield fleet
    finally:
        fleet.close()


@pytest.fixture(scope="module", name="variables")
def make_variables(shared: Fleet) -> dict[str, str]:
    """
    The three variables that say where the controller is, with the token of an operator who is no more than that.
    """
    told = shared.command("motorpool", "tokens", "create", "--role", "operator", "--output", "json").stdout
    ours = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return {
        **ours,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "MOTORPOOL_SERVER": f"127.0.0.1:{shared.public_port}",
        "MOTORPOOL_CA_FILE": str(shared.controller_dir / "ca.pem"),
        "MOTORPOOL_TOKEN": json.loads(told)["secret"],
    }


@pytest.fixture(name="built")
def make_built() -> Callable[[str], list[str]]:
    """
    The command of a language's client, made as its README says.
    """

    def built(language: str) -> list[str]:
        if (EXAMPLES / language / "Makefile").exists():
            out = BUILDS / language
            out.mkdir(parents=True, exist_ok=True)
            with (out / "lock").open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)  # the tests' workers share it
                done = subprocess.run(
                    ["make", "--jobs", "2", f"OUT={out}"],
                    cwd=EXAMPLES / language,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=250,
                )
            assert 0 == done.returncode, done.stdout[-2000:] + done.stderr[-4000:]
        return COMMANDS[language]

    return built


def call(command: list[str], variables: dict[str, str], *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *words],
        env={**variables, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@every_language
def test_it_lists_deploys_watches_explains_and_deletes(
    language: str, built: Callable[[str], list[str]], shared: Fleet, variables: dict[str, str], tiny_model: Path
) -> None:
    """
    A model comes up, says why it is there, and leaves nothing behind.
    """
    command, name = built(language), f"in-{language}"

    nodes = call(command, variables, "nodes")
    deployed = call(command, variables, "deploy", name, str(tiny_model))
    (running,) = shared.instances(name)
    explained = call(command, variables, "explain", name)
    deleted = call(command, variables, "delete", name)

    assert [(0, "")] * 4 == [(done.returncode, done.stderr) for done in (nodes, deployed, explained, deleted)]
    assert nodes.stdout.startswith("nodes/a READY ")
    assert nodes.stdout.endswith(" GiB, 0 devices\n")
    assert v1.INSTANCE_STATE_RUNNING == running.state
    assert deployed.stdout.startswith(f"deployments/{name} is accepted\n{running.name} ")
    assert deployed.stdout.endswith(f"{running.name} RUNNING\nanswers at {running.endpoint}\n")
    assert explained.stdout.startswith(f"{running.name} RUNNING It was placed on nodes/a")
    assert f"deployments/{name} is gone\n" == deleted.stdout
    assert [] == shared.instances(name)
    assert [] == engines_below(shared.folder / "a" / "instances")


@every_language
def test_a_watch_that_broke_off_goes_on_at_its_bookmark(
    language: str,
    built: Callable[[str], list[str]],
    shared: Fleet,
    variables: dict[str, str],
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    """
    The controller dies, and what is watched is deleted before the client is back: only from where it was is that told.
    """
    command, name = built(language), f"waits-in-{language}"
    shared.command("motorpool", "cordon", "a")
    try:
        deploying = Process([*command, "deploy", name, str(tiny_model)], tmp_path / "out", env=variables)
        wait_for("the client to see that it waits", lambda: "PENDING\n" in deploying.tail())
        assert shared.controller is not None
        shared.controller.kill()
        wait_for("the client to see the break", lambda: BROKEN_OFF in deploying.tail())
        os.kill(deploying.pid, signal.SIGSTOP)
        shared.start_controller()
        shared.delete(name)
        os.kill(deploying.pid, signal.SIGCONT)
        wait_for("the client to end", lambda: not deploying.running())
    finally:
        shared.command("motorpool", "uncordon", "a")

    assert 1 == deploying.terminate()
    assert f"deployments/{name} was deleted by someone else while it came up" in deploying.tail()


@every_language
def test_errors_come_with_their_reason_and_fields(
    language: str, built: Callable[[str], list[str]], variables: dict[str, str]
) -> None:
    """
    ErrorInfo gives the reason, BadRequest the fields; what the controller did not say has no reason of its.
    """
    command = built(language)
    unknown = call(command, variables, "explain", "nobody")
    untrusted = call(command, variables, "nodes", MOTORPOOL_TOKEN="x")
    wrong = call(command, variables, "deploy", "x", "relative.gguf")
    unreachable = call(command, variables, "nodes", MOTORPOOL_SERVER="127.0.0.1:9")
    senseless = call(command, variables, "deploy")

    assert all(done.returncode not in {0, 2} for done in (unknown, untrusted, wrong, unreachable))
    assert 2 == senseless.returncode
    assert senseless.stderr.startswith("usage: motorpool")
    assert "“deployments/nobody” does not exist" in unknown.stderr
    if language != "buf":  # it prints details as base64
        assert "[NOT_FOUND]" in unknown.stderr
        assert "[TOKEN_INVALID]" in untrusted.stderr
        assert "[FIELD_INVALID]\n  spec.model.local_path: “relative.gguf” is not absolute" in wrong.stderr
    assert unreachable.stderr
    assert "    at " not in unreachable.stderr  # a traceback's line
