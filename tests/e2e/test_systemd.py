"""The agent as systemd's service, on a machine that systemd booted: from wheels and a join token to a reboot."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motorpool import v1
from tests import booted
from tests.booted import Booted
from tests.conftest import cannot_run_here
from tests.e2e.chat import Questioner
from tests.e2e.conftest import ROOT
from tests.e2e.environment import Environment, of_version
from tests.e2e.fleet import Fleet, wait_for
from tests.ordinary import open_folder, showing

AGENT = ROOT / "agent"
DATA = "/var/lib/motorpool/agent"
UNIT = "motorpool-agent.service"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.needs("systemd-run", "journalctl", "nsenter", "unshare"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's"),
]


class Machine:
    """A booted machine, and what an operator types on it."""

    def __init__(self, booted: Booted) -> None:
        self.booted = booted
        self.epoch = 0

    def type(self, *command: str | Path, status: int = 0) -> str:
        """Run a command there, and return what it prints."""
        done = self.booted.run(*map(str, command), seconds=120)
        assert status == done.returncode, done.stdout
        return done.stdout

    def agent(self) -> dict[str, str]:
        """Return what systemd knows of the agent's unit."""
        shown = self.type("systemctl", "show", UNIT)
        return dict(line.partition("=")[::2] for line in shown.splitlines())

    def journal(self) -> str:
        """Return the end of the agent's journal."""
        return self.type("journalctl", "--unit", UNIT, "--no-pager", "--lines", "60")


@pytest.fixture(name="machine")
def make_machine(tmp_path: Path) -> Iterator[Machine]:
    """
    A machine with systemd, whose /etc and /var are its own and survive its reboots.
    """
    if reason := booted.missing():
        cannot_run_here(reason)
    state = tmp_path / "machine"
    state.mkdir()
    with Booted(state) as machine:
        yield Machine(machine)


def install(machine: Machine, environment: Environment, *options: str) -> str:
    return machine.type(environment.folder / "bin" / "motorpool-agent", "install", *options)


def wait_ready(fleet: Fleet, machine: Machine, version: str) -> None:
    """Wait until the node is in a new session, offers llama.cpp, and says that its agent is of this version."""

    def ready() -> v1.Node | None:
        found = [each for each in fleet.nodes.ListNodes(v1.ListNodesRequest()).nodes if each.name == "nodes/a"]
        offers = [b.name for b in v1.BackendServiceStub(fleet.channel).ListBackends(v1.ListBackendsRequest()).backends]
        fits = found and (found[0].state, found[0].agent_version) == (v1.NODE_STATE_READY, version)
        return found[0] if fits and found[0].session_epoch > machine.epoch and "backends/llama_cpp" in offers else None

    try:
        machine.epoch = wait_for(f"nodes/a to be ready in version {version}", ready).session_epoch
    except BaseException:
        print(machine.journal())
        raise


@pytest.mark.promise("P1")
def test_a_node_is_installed_restarted_watched_upgraded_and_rebooted(
    machine: Machine, fleet: Fleet, tiny_model: Path, tmp_path: Path
) -> None:
    """
    From a wheel and a join token a node serves a model, which answers while the agent is restarted, hangs, is upgraded
    and taken away, and comes back by itself when the machine boots again.
    """
    environment = Environment(tmp_path / "environment")
    environment.make()
    environment.install(of_version(AGENT, "0.1.1", tmp_path))
    token = tmp_path / "token"
    token.write_text(fleet.join_token())
    given = ("--server", f"127.0.0.1:{fleet.public_port}", "--token-file", str(token), "--node-name", "a")

    written = install(machine, environment, *given, "--user", "root", "--no-start")
    prepare(machine, fleet)
    started = install(machine, environment)
    wait_ready(fleet, machine, "0.1.1")
    again = install(machine, environment)
    wait_ready(fleet, machine, "0.1.1")

    assert "wrote: /etc/systemd/system/motorpool-agent.service" in written
    assert "run: systemctl enable --quiet motorpool-agent.service" in started
    assert "as it should be: /etc/systemd/system/motorpool-agent.service" in again
    assert "kept: /etc/motorpool/agent.toml" in again

    fleet.deploy("tiny", tiny_model)
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    assert "systemd" == before.launch.executor
    with Questioner(fleet.credentials("tiny")) as questioner:
        answering(questioner, machine, "before anything happens")
        machine.type("systemctl", "restart", UNIT)
        wait_ready(fleet, machine, "0.1.1")
        answering(questioner, machine, "after a restart")

        hung = machine.agent()["MainPID"]
        machine.type("kill", "-STOP", hung)
        wait_for("systemd to see that the agent hangs", lambda: machine.agent()["NRestarts"] != "0")
        wait_for("an agent to be there again", lambda: machine.agent()["MainPID"] not in {"0", hung})
        wait_ready(fleet, machine, "0.1.1")
        answering(questioner, machine, "after a hanging agent")

        environment.install(of_version(AGENT, "0.1.2", tmp_path))
        install(machine, environment)
        wait_ready(fleet, machine, "0.1.2")
        answering(questioner, machine, "after an upgrade")
        same = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)

        refused = machine.type(environment.folder / "bin" / "motorpool-agent", "uninstall", "--purge", status=1)
        taken = machine.type(environment.folder / "bin" / "motorpool-agent", "uninstall")
        answering(questioner, machine, "without an agent, or its unit")
        install(machine, environment)
        wait_ready(fleet, machine, "0.1.2")
        answering(questioner, machine, "with its agent again")

    assert [] == questioner.failures
    assert (before.pid, before.pid_start_ticks, 0) == (same.pid, same.pid_start_ticks, same.restart_count)
    assert "1 instances of this node stand in" in refused
    assert f"kept: {DATA}" in taken
    assert "1 instances run on" in taken

    machine.booted.reboot()
    wait_ready(fleet, machine, "0.1.2")
    wait_for("the model to run again", lambda: running_since(fleet, before))
    with Questioner(fleet.credentials("tiny")) as questioner:
        answering(questioner, machine, "after a reboot")
    fleet.delete("tiny")

    removed = machine.type(environment.folder / "bin" / "motorpool-agent", "uninstall", "--purge")
    assert f"removed: {DATA}" in removed
    for path in (f"/etc/systemd/system/{UNIT}", "/etc/motorpool/agent.toml", "/etc/motorpool/join-token", DATA):
        machine.type("test", "-e", path, status=1)


def answering(questioner: Questioner, machine: Machine, when: str) -> None:
    """Hold that the model answers, and did not fail to so far."""
    questioner.wait_for_more(5, when)
    if questioner.failures:
        print(machine.journal(), machine.type("systemctl", "list-units", "--all", "--no-pager", "motorpool*"))
    assert [] == questioner.failures, when


def running_since(fleet: Fleet, before: v1.Instance) -> bool:
    found = fleet.instances("tiny")
    return [v1.INSTANCE_STATE_RUNNING] == [each.state for each in found] and found[
        0
    ].pid_start_ticks != before.pid_start_ticks


def prepare(machine: Machine, fleet: Fleet) -> None:
    """Give the machine an engine that stands already, ports of its own, and an eager watchdog."""
    machine.type("mkdir", "-p", DATA, f"/etc/systemd/system/{UNIT}.d")
    machine.type("cp", "-a", fleet.engines, f"{DATA}/engines")
    first = 3000 + (fleet.public_port * 40) % 25000
    machine.type("sh", "-c", f"echo 'port_range = \"{first}-{first + 19}\"' >> /etc/motorpool/agent.toml")
    machine.type(
        "sh",
        "-c",
        f"printf '[Service]\\nWatchdogSec=10\\nTimeoutAbortSec=1\\n' > /etc/systemd/system/{UNIT}.d/eager.conf",
    )


@pytest.mark.promise("P6")
def test_an_agent_that_is_not_roots_serves_through_its_launcher(
    machine: Machine, fleet: Fleet, tiny_model: Path, tmp_path: Path
) -> None:
    """
    With a user of its own the agent gets a launcher and a policy: its engines are units that are not root's, nor its.
    """
    with open_folder() as folder:
        machine.type("mkdir", "/run/shown")
        machine.type("sh", "-c", "\n".join(showing("/run/shown")))
        environment = Environment(folder / "environment")
        environment.make()
        environment.install(of_version(AGENT, "0.1.1", tmp_path))
        # Not in /tmp, where each engine has one of its own.
        machine.type("mkdir", "/var/models")
        machine.type("cp", tiny_model, "/var/models/tiny.gguf")
        token = tmp_path / "token"
        token.write_text(fleet.join_token())

        given = ("--server", f"127.0.0.1:{fleet.public_port}", "--token-file", str(token), "--node-name", "a")
        install(machine, environment, *given, "--models", "/var/models", "--no-start")
        prepare(machine, fleet)
        machine.type("chown", "-R", "motorpool:", DATA)
        again = install(machine, environment)
        wait_ready(fleet, machine, "0.1.1")
        fleet.deploy("tiny", Path("/var/models/tiny.gguf"))
        try:
            running = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        except BaseException:
            print(machine.type("journalctl", "--no-pager", "--lines", "80"))
            raise
        users = machine.type("ps", "-o", "user:32=", "-p", machine.agent()["MainPID"], "-p", str(running.pid)).split()
        with Questioner(fleet.credentials("tiny")) as questioner:
            answering(questioner, machine, "from a unit of a user's agent")
            install(machine, environment)
            wait_ready(fleet, machine, "0.1.1")
            answering(questioner, machine, "after its restart")
            environment.install(of_version(AGENT, "0.1.2", tmp_path))
            install(machine, environment)
            wait_ready(fleet, machine, "0.1.2")
            answering(questioner, machine, "after an upgrade of agent and launcher")
            same = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        machine.type("cp", tiny_model, "/var/other.gguf")
        other = fleet.command("motorpool", "deploy", "other", "--model", "/var/other.gguf", "--wait", check=False)
        rights = machine.type("cat", f"/proc/{machine.agent()['MainPID']}/status")
        fleet.delete("other")
        fleet.delete("tiny")
        machine.type(environment.folder / "bin" / "motorpool-agent", "uninstall", "--purge")

    assert (running.pid, running.pid_start_ticks, 0) == (same.pid, same.pid_start_ticks, same.restart_count)
    assert "CapEff:\t0000000000000000" in rights
    assert 1 == other.returncode
    assert "allow it in /etc/motorpool/policy.toml: roots" in other.stderr
    assert "restart motorpool-launcher.socket" in again
    assert "systemd" == running.launch.executor
    assert "motorpool" in users
    assert "root" not in users
    assert 2 == len(set(users))
    machine.type("test", "-e", "/etc/systemd/system/motorpool-launcher.socket", status=1)
