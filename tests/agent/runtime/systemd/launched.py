"""An agent that is an ordinary user, and the launcher: run by test_launcher.py on a machine that systemd booted."""

from __future__ import annotations

import grp
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import psutil
import pytest

from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.runtime.systemd.requests import Answer, Forget, Hello, Request, Show, Signal, Start, Stop
from motorpool_agent.runtime.systemd.units import Units
from tests.agent.runtime.conformance import ExecutorContract
from tests.agent.runtime.fakes import DEADLINE_SECONDS, ENGINE, assignment, desired, free_ports, tombstone
from tests.agent.runtime.killed_agent import KilledAgent
from tests.agent.runtime.systemd.units import journal, systemctl, units
from tests.ordinary import NOBODY, showing

pytestmark = pytest.mark.promise("P6")


@pytest.fixture(scope="module", autouse=True)
def _shown() -> None:
    """
    Interpreter and tree, to the agent's and the engines' users, too; and what is written here is gone with it.
    """
    script = [
        "mkdir /run/shown /run/upper /run/work",
        *showing("/run/shown"),
        "mount -t tmpfs -o mode=755 none /srv",
        "mount -t overlay -o lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work none /var/lib",
    ]
    subprocess.run(["sh", "-c", "\n".join(script)], check=True)


@pytest.fixture(name="folder")
def make_folder() -> Path:
    """A folder that every user may enter, and units see: their /tmp is their own."""
    path = Path(tempfile.mkdtemp(dir="/srv"))
    path.chmod(0o755)
    return path


@pytest.fixture(name="data_dir")
def make_data_dir(folder: Path) -> Iterator[Path]:
    """The agent's data directory, with an identity in it that no engine may see."""
    home = folder / "home"
    data_dir = home / "data"
    (data_dir / "identity").mkdir(parents=True)
    (data_dir / "engines").mkdir()
    (data_dir / "identity" / "key.pem").write_text("the agent's key")
    for path in (home, data_dir, data_dir / "engines", *(data_dir / "identity").iterdir(), data_dir / "identity"):
        os.chown(path, NOBODY, NOBODY)
    data_dir.chmod(0o700)
    yield data_dir
    names = [unit["name"] for unit in units(data_dir)]
    if names:
        subprocess.run(["systemctl", "kill", "--signal=KILL", *names], check=False, capture_output=True)
        systemctl("stop", *names)


@pytest.fixture(name="policy")
def make_policy(folder: Path) -> Path:
    """The machine's policy: models of this folder, this interpreter."""
    path = folder / "policy.toml"
    path.write_text(
        f'roots = ["{folder}", "{ENGINE.parent}"]\n'
        f'executables = ["{Path(sys.executable).resolve()}"]\n'
        'devices = ["/dev/net/tun"]\ndenied_options = ["--forbidden"]\n'
    )
    return path


@pytest.fixture(name="launcher")
def make_launcher(folder: Path, data_dir: Path, policy: Path) -> Iterator[Path]:
    """The launcher's socket."""
    own = folder / "run"
    own.mkdir(mode=0o755)
    path = own / "socket"
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "import sys; from motorpool_agent.launcher.main import main; sys.exit(main())"),
            *("--data-dir", str(data_dir), "--user", "nobody", "--policy-file", str(policy)),
            *("--folder", str(own), "--socket", str(path)),
        ]
    )
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not path.exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        yield path
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(name="agent")
def make_agent(data_dir: Path, launcher: Path) -> Iterator[KilledAgent]:
    """An agent in a process of its own, nobody's."""
    with agent_of(data_dir, launcher) as agent:
        yield agent


def agent_of(data_dir: Path, launcher: Path) -> KilledAgent:
    group = grp.getgrnam("systemd-journal").gr_gid
    return KilledAgent(data_dir, free_ports(8).start, launcher=launcher, user=NOBODY, groups=(group,))


@pytest.fixture(name="wish")
def make_wish(folder: Path) -> Callable[..., Assignment]:
    """Makes assignments of a model below the policy's root."""
    (folder / "models").mkdir()
    return lambda *given, **options: assignment(folder / "models", *given, **options)


class TestLaunched(ExecutorContract):
    """The contract holds for what the launcher starts as it does for what an agent starts that is root's."""

    executor = "systemd"

    @pytest.fixture(name="make")
    def make_supervisors(self, make: Callable[..., Supervisor], launcher: Path) -> Callable[..., Supervisor]:
        """
        Makes supervisors that ask the launcher.
        """
        return lambda **changes: make(**{"launcher": launcher, **changes})

    @pytest.fixture(name="wish")
    def make_wish(self, folder: Path) -> Callable[..., Assignment]:
        """
        Makes assignments of a model that nobody may read, too.
        """
        return lambda *given, **options: assignment(folder, *given, **options)

    @pytest.fixture(name="agent")
    def make_agent(self, data_dir: Path, launcher: Path) -> Iterator[KilledAgent]:
        """
        An agent in a process of its own, nobody's.
        """
        with agent_of(data_dir, launcher) as agent:
            yield agent

    def engines(self, data_dir: Path, assignment_id: str = "a1") -> Mapping[str, int]:
        """Return the units whose first process runs."""
        return {
            unit["InvocationID"]: int(unit["MainPID"])
            for unit in units(data_dir, assignment_id)
            if unit["MainPID"] != "0" and psutil.pid_exists(int(unit["MainPID"]))
        }


def test_an_engine_runs_as_a_user_of_its_own(
    agent: KilledAgent, wish: Callable[..., Assignment], data_dir: Path
) -> None:
    """
    Neither root's nor the agent's, without capabilities; it ends with its unit, and nothing of it is left.
    """
    agent.apply(desired(wish(), wish("a2")))
    users = [psutil.Process(agent.until("running", each)[1]).uids().real for each in ("a1", "a2")]
    status = Path(f"/proc/{agent.until('running')[1]}/status").read_text()
    agent.apply(desired(tombstones=[tombstone(), tombstone("a2")]))
    agent.until_gone("a1", "a2")

    assert not {0, NOBODY} & {*users}
    assert 2 == len({*users})
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert [] == units(data_dir)
    assert not Path("/var/lib/private/motorpool-engines/a1").exists()


def test_an_agent_that_is_killed_adopts(data_dir: Path, launcher: Path, wish: Callable[..., Assignment]) -> None:
    """
    The unit is systemd's: neither the agent's end nor the launcher's is the engine's.
    """
    with agent_of(data_dir, launcher) as first:
        first.apply(desired(wish()))
        _, pid, _ = first.until("running")
        first.kill()
    with agent_of(data_dir, launcher) as second:
        assert ("running", pid, True) == second.until("running")
        second.apply(desired(tombstones=[tombstone()]))
        second.until_gone("a1")


def asked(launcher: Path, request: Request | bytes) -> Answer:
    """Ask the launcher as the agent's user."""
    line = request if isinstance(request, bytes) else msgspec.json.encode(request) + b"\n"
    program = (
        "import socket, sys\n"
        "with socket.socket(socket.AF_UNIX) as s:\n"
        "    s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read()); s.shutdown(1)\n"
        "    print(s.makefile().readline())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(launcher)],
        input=line,
        capture_output=True,
        check=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
    )
    return msgspec.json.decode(done.stdout, type=Answer)


def a_start(data_dir: Path, **changes: object) -> Start:
    """A request that the policy lets, with changes."""
    given: dict[str, object] = {
        "unit": Units(data_dir, user=False).name("a1", 1),
        "title": "a1",
        "backend": "server",
        "argv": [sys.executable, "-I", "-S", str(ENGINE), "127.0.0.1", str(free_ports(1).start)],
        "environment": {"PATH": os.defpath},
    }
    return Start(**{**given, **changes})  # type: ignore[arg-type]  # fields by name


def test_what_the_policy_lets_is_started(launcher: Path, data_dir: Path) -> None:
    """
    Or the denials below would prove nothing.
    """
    answer = asked(launcher, a_start(data_dir))

    assert ("", 0) == (answer.reason or answer.errors, answer.status)
    assert ["active"] == [unit["ActiveState"] for unit in units(data_dir)]
    asked(launcher, Stop(unit=a_start(data_dir).unit))


def test_a_launchs_own_files_are_the_engines_alone(launcher: Path, data_dir: Path) -> None:
    """
    They lie where the engine looks for them, and nobody else of the machine's users may read them, nor its variables.
    """
    file = f"{data_dir}/instances/a1/launch/engine.json"
    program = (
        "import os, time\n"
        f"print('told', open('{file}').read(), oct(os.stat('{file}').st_mode & 0o77), os.environ['KEY'], os.getcwd())\n"
        "open('own', 'w').close(); time.sleep(600)"
    )
    start = a_start(
        data_dir,
        argv=[sys.executable, "-I", "-u", "-c", program],
        files={file: "the key"},
        environment={"KEY": "s3cret", "PATH": os.defpath},
    )
    answer = asked(launcher, start)
    (unit,) = units(data_dir)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while "told" not in journal(unit):
        assert time.monotonic() < deadline, journal(unit)
        time.sleep(0.05)

    assert ("", 0) == (answer.reason or answer.errors, answer.status)
    assert "told the key 0o0 s3cret /var/lib/private/motorpool-engines/a1" in journal(unit)
    assert "s3cret" not in systemctl("show", unit["name"])
    assert not Path(file).exists()
    assert [] == [*(launcher.parent / "start").iterdir()]
    asked(launcher, Stop(unit=start.unit))
    asked(launcher, Forget(unit=start.unit))
    assert not Path("/var/lib/private/motorpool-engines/a1").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": ["/bin/sh", "-c", "id"]},
        {"argv": ["sh"]},
        {"argv": ["{data}/engines/../../../../bin/sh"]},
        {"argv": ["{data}/engines/out/sh"]},
        {"argv": [sys.executable, "/etc/shadow"]},
        {"argv": [sys.executable, "--model={data}/identity/key.pem"]},
        {"argv": [sys.executable, "--forbidden=1"]},
        {"environment": {"LD_PRELOAD": "/x.so"}},
        {"environment": {"A=B": "x"}},
        {"device_nodes": ["/dev/mem"]},
        {"device_nodes": ["/dev/net/../mem"]},
        {"device_nodes": ["/etc/shadow"]},
        {"reads": ["/root"]},
        {"reads": ["{data}/identity"]},
        {"reads": ["{data}"]},
        {"reads": ["{data}/engines/../identity"]},
        {"reads": ["{data}/engines/out"]},
        {"files": {"/etc/cron.d/x": "* * * * * root id"}},
        {"files": {"{data}/instances/a1/launch/../../../identity/x": ""}},
        {"files": {"{data}/instances/a2/launch/x": ""}},
        {"files": {"{data}/instances/a1/launch/x:y": ""}},
        {"unit": "ssh.service"},
        {"unit": "motorpool-00000000-a1-1.service"},
        {"backend": "other", "argv": ["/bin/true"]},
    ],
)
def test_a_hostile_agent_starts_nothing_else(launcher: Path, data_dir: Path, changes: dict[str, object]) -> None:
    """
    Programs, files, devices, folders and units beside those of its engines, by whatever way they are named.
    """
    (data_dir / "engines" / "out").symlink_to("/bin")
    text = msgspec.json.encode(changes).decode().replace("{data}", str(data_dir))
    answer = asked(launcher, a_start(data_dir, **msgspec.json.decode(text)))

    assert "POLICY_DENIED" == answer.reason
    assert [] == units(data_dir)


@pytest.mark.parametrize("unit", ["ssh.service", "init.scope", "motorpool-00000000-a1-1.service", "-.slice", "x"])
def test_other_units_are_out_of_reach(launcher: Path, unit: str) -> None:
    """
    None of the machine's, and none of another agent's, is shown, ended or forgotten.
    """
    for request in (Show(unit=unit), Stop(unit=unit), Signal(unit=unit, kill=True), Forget(unit=unit)):
        assert asked(launcher, request).reason in {"POLICY_DENIED", "REQUEST_INVALID"}


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"null\n",
        b'{"type":"shell","command":"id"}\n',
        b'{"type":"stop","unit":"x","properties":["ExecStart=/bin/sh"]}\n',
        b'{"type":"show","unit":"--property=x"}\n',
        b'{"type":"start","unit":"a\\nb","title":"","backend":"x","argv":["/bin/sh"],"environment":{}}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (2 << 20) + b"\n",
        b"",
    ],
)
def test_what_is_no_request_is_refused(launcher: Path, line: bytes) -> None:
    """
    Nothing beside the schema is read, however long; the launcher goes on.
    """
    try:
        assert "REQUEST_INVALID" == asked(launcher, line).reason
    except (subprocess.CalledProcessError, msgspec.DecodeError):
        assert len(line) > 1 << 20  # cut off before its end
    assert "" == asked(launcher, Hello()).reason


def test_other_users_are_refused(launcher: Path) -> None:
    """
    Whoever may reach the socket: who asks is the kernel's word.
    """
    program = (
        "import socket, sys\n"
        's = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b\'{"type":"hello"}\\n\')\n'
        "print(s.makefile().readline())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(launcher)],
        capture_output=True,
        check=True,
        user=1,
        group=1,
        extra_groups=[],
    )

    assert "is not the agent's" in msgspec.json.decode(done.stdout, type=Answer).message


def test_an_engine_sees_neither_keys_nor_other_devices(
    agent: KilledAgent, wish: Callable[..., Assignment], data_dir: Path, folder: Path
) -> None:
    """
    Of the agent's folder there is what it reads; a hostile engine finds no identity, no handle and no socket to ask at.
    """
    agent.apply(desired(wish()))
    _, pid, _ = agent.until("running")
    uid = psutil.Process(pid).uids().real
    program = (
        "import os, socket, sys\n"
        "def tried(path):\n"
        "    try: open(path).close(); return 'read'\n"
        "    except OSError as error: return error.strerror\n"
        "for path in sys.argv[1:]: print(tried(path))\n"
    )
    paths = [f"{data_dir}/identity/key.pem", f"{data_dir}/instances/a1/handle.json", "/dev/kmsg", "/etc/shadow"]
    as_engine = ["nsenter", f"--target={pid}", "--mount", "--", "setpriv", f"--reuid={uid}", "--clear-groups", "--"]
    done = subprocess.run(
        [*as_engine, "/usr/bin/python3", "-c", program, *paths], capture_output=True, text=True, check=True
    )

    assert "read" not in done.stdout.split("\n")
