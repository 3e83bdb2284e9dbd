"""The two machines of ``controller/SEVERAL.md``, with its commands typed there, and the database's on a third one.

Each is a network namespace of this machine, with the document's address, a home folder and a shell of its own. What is
not typed: `apt-get` and `pip install`, in whose place the home folder has this tree's environment; and that the user is
an ordinary one, whose data directory the environment names in the place of the default.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.e2e.conftest import ROOT
from tests.e2e.fleet import BIN, wait_for
from tests.e2e.networks import Network, network
from tests.postgresql import PostgresServer

PAGE = (ROOT / "controller" / "SEVERAL.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(one|two)\$ (.*?)(?:\s{2,}#.*)?$", PAGE, re.MULTILINE)
ADDRESSES = {"one": "10.0.0.1", "two": "10.0.0.2", "db": "10.0.0.9", "node": "10.0.0.21"}
LEASE_SECONDS = 4
_INSTALLING = "sudo apt-get install -y python3-venv && "
_SECONDS = 60.0
_DONE = "-- typed, and ended with"


class Machine:
    """One of them, with a person at its shell."""

    def __init__(self, name: str, space: str, home: Path, lease_seconds: float) -> None:
        self.name, self.home = name, home
        self.errors = home / "stderr"
        data_dir = home / ".local/share/motorpool/controller"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MOTORPOOL_")}
        home.mkdir()
        (home / "motorpool").symlink_to(BIN.parent)
        with self.errors.open("wb") as errors:
            self._shell = subprocess.Popen(
                # Not `ip netns exec`: that mounts another /sys.
                ["nsenter", f"--net=/run/netns/{space}", "bash"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=home,
                env={
                    **kept,
                    "HOME": str(home),
                    "XDG_CONFIG_HOME": "",
                    "MOTORPOOL_CONTROLLER_DATA_DIR": str(data_dir),
                    "MOTORPOOL_CONTROLLER_LEADER_LEASE_SECONDS": str(lease_seconds),
                },
            )

    def type(self, line: str) -> str:
        """Type a line, and return what it printed, once it is done; it has to go well."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        watch = threading.Timer(_SECONDS, self._shell.kill)
        watch.start()
        self._shell.stdin.write(f"{line}\necho '{_DONE}' $?\n")
        self._shell.stdin.flush()
        said: list[str] = []
        for output in self._shell.stdout:
            if output.startswith(_DONE):
                watch.cancel()
                assert output == f"{_DONE} 0\n", f"{self.name}$ {line}: {''.join(said)}{self.told()}"
                return "".join(said)
            said.append(output)
        raise AssertionError(f"{self.name}$ {line}: the shell ended: {''.join(said)}{self.told()}")

    def told(self) -> str:
        """Return what commands, and the controller in the background, said on standard error."""
        return self.errors.read_text(encoding="utf-8")

    def wait_told(self, words: str, times: int = 1, seconds: float = _SECONDS) -> None:
        """Wait until the controller said something so many times."""
        wait_for(f"{self.name} to say {words!r}", lambda: self.told().count(words) >= times, seconds)

    def close(self) -> None:
        """End the shell and what runs there."""
        with contextlib.suppress(AssertionError, OSError):
            self.type("kill -CONT %1 2> /dev/null; kill -9 %1 2> /dev/null; wait; true")
        self._shell.kill()
        self._shell.communicate()


class Machines:
    """Both controllers' machines and the database's, on a network of their own."""

    def __init__(self, net: Network, one: Machine, two: Machine) -> None:
        self.network, self.one, self.two = net, one, two

    @contextlib.contextmanager
    def without_database(self, name: str = "one") -> Iterator[None]:
        """A time in which a machine reaches everybody but the database."""
        where = ("route", "{}", "blackhole", f"{ADDRESSES['db']}/32")
        space = self.network.namespaces[name]
        _ip(space, *(each.format("add") for each in where))
        try:
            yield
        finally:
            _ip(space, *(each.format("delete") for each in where))


@contextlib.contextmanager
def typed(folder: Path, lease_seconds: float = LEASE_SECONDS) -> Iterator[Machines]:
    """Type the document's commands on machines that have nothing yet; ``one`` leads."""
    with contextlib.ExitStack() as made:
        net = made.enter_context(network(*ADDRESSES))
        for name, address in ADDRESSES.items():
            _ip(net.namespaces[name], "address", "add", f"{address}/24", "dev", "cable0")
        server = made.enter_context(contextlib.closing(PostgresServer(space=net.namespaces["db"])))
        with psycopg.connect(server.local_url("postgres").url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE motorpool")
        machines = {name: Machine(name, net.namespaces[name], folder / name, lease_seconds) for name in ("one", "two")}
        for each in machines.values():
            made.callback(each.close)
        # "Install there as above": no command of two's own.
        assert [name for name, line in COMMANDS if line.startswith(_INSTALLING)] == ["one"]
        for name, line in COMMANDS:
            if line.startswith(_INSTALLING):
                continue
            if "--authority" in line:
                shutil.copy(machines["one"].home / "authority.json", machines["two"].home)
            if "motorpool login" in line:
                machines["two"].wait_told("controller stands by")
            machines[name].type(line)
            if line == "motorpool-controller run --advertise 10.0.0.1 &":
                machines["one"].wait_told("controller ready")
        yield Machines(net, machines["one"], machines["two"])


def _ip(space: str, *arguments: str) -> None:
    subprocess.run(["ip", "-n", space, *arguments], check=True, stdin=subprocess.DEVNULL, timeout=10)
