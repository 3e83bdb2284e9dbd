"""Engines' environments, made with the real venv and pip, from a wheel on disk."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.engines import Engines
from motorpool_agent.runtime.errors import EngineInstallError
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_sdk.backend import Environment, Version
from tests.agent.runtime.fakes import ServerBackends, assignment, desired, until, until_state
from tests.agent.runtime.killed_agent import ROOT

VERSION = Version(
    version="1.0+a",
    environment=Environment(requirements=("tinyengine==1.0",), files={"serve.py": "print('serving')\n"}),
)
BUILT = Version(version="3", environment=Environment(requirements=("builtengine",)))


@pytest.fixture(name="engines")
def _engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Engines whose pip knows one folder of wheels and no index."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _wheel(wheels)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return Engines(tmp_path / "data", tmp_path / "cache")


async def test_environment_is_made(engines: Engines) -> None:
    """
    An environment has its packages, its files and scripts that work from where it stands.
    """
    progress: list[str] = []
    directory = await engines.ensure("tiny", VERSION, progress.append)

    assert _output(directory / "bin" / "python", "-c", "import tinyengine; print(tinyengine.NAME)") == "tiny"
    assert _output(directory / "bin" / "tinyengine") == "tiny"
    assert _output(directory / "bin" / "python", str(directory / "files" / "serve.py")) == "serving"
    assert engines.installed("tiny", "1.0+a")
    assert progress[0] == "making the environment"


@pytest.mark.promise("P12")
async def test_standing_environment_needs_no_pip(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An environment that stands is returned without an index, a wheel or a network.
    """
    first = await engines.ensure("tiny", VERSION, lambda _: None)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    progress: list[str] = []

    assert first == await engines.ensure("tiny", VERSION, progress.append)
    assert progress == []


async def test_failed_installation_leaves_nothing(engines: Engines, tmp_path: Path) -> None:
    """
    A requirement that cannot be had is an error with pip's words and what to do; nothing half-made stays.
    """
    version = Version(version="2", environment=Environment(requirements=("no-such-engine==9",)))

    with pytest.raises(EngineInstallError, match=r"no-such-engine==9.*motorpool-agent engine install") as caught:
        await engines.ensure("tiny", version, lambda _: None)
    assert caught.value.reason == "ENGINE_INSTALL"
    assert not engines.installed("tiny", "2")
    assert [path.name for path in (tmp_path / "data" / "engines" / "tiny").iterdir()] == [".2.lock"]


async def test_remains_of_a_dead_installer_are_replaced(engines: Engines, tmp_path: Path) -> None:
    """
    What an installer left that died is not taken for an environment, and does not stand in the way.
    """
    for name in (".1.0+a.partial", "1.0+a"):
        remains = tmp_path / "data" / "engines" / "tiny" / name / "bin"
        remains.mkdir(parents=True)
        (remains / "python").write_text("half")
    directory = await engines.ensure("tiny", VERSION, lambda _: None)

    assert _output(directory / "bin" / "tinyengine") == "tiny"
    assert not (directory.parent / ".1.0+a.partial").exists()


async def test_two_at_once_make_one(engines: Engines) -> None:
    """
    Of two that want the same environment one makes it, and the other one waits.
    """
    first: list[str] = []
    second: list[str] = []
    made = await asyncio.gather(
        engines.ensure("tiny", VERSION, first.append), engines.ensure("tiny", VERSION, second.append)
    )

    assert made[0] == made[1]
    assert ["waiting for another installation of the same engine"] in (first, second)


async def test_cancelled_installation_leaves_nothing(engines: Engines, tmp_path: Path) -> None:
    """
    An installation that is called off is ended, and cleared away.
    """
    begun = asyncio.Event()
    task = asyncio.create_task(engines.ensure("tiny", VERSION, lambda _: begun.set()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [path.name for path in (tmp_path / "data" / "engines" / "tiny").iterdir()] == [".1.0+a.lock"]


async def test_downloads_are_kept_in_the_cache_directory(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What pip keeps for another time lies below the agent's cache directory.
    """
    build = Build(tmp_path, monkeypatch)
    build.may_end.touch()
    await engines.ensure("tiny", BUILT, lambda _: None)

    assert [path.name for path in (tmp_path / "cache" / "pip").rglob("*.whl")] == [build.wheel.name]


async def test_environment_whose_python_is_gone_is_made_again(engines: Engines) -> None:
    """
    An environment whose interpreter was removed from the machine, or itself by hand, does not count as installed.
    """
    directory = await engines.ensure("tiny", VERSION, lambda _: None)
    (directory / "bin" / "python").unlink()
    (directory / "bin" / "python").symlink_to("/nowhere/python3")

    assert not engines.installed("tiny", VERSION.version)
    await engines.ensure("tiny", VERSION, lambda _: None)
    assert _output(directory / "bin" / "tinyengine") == "tiny"


@pytest.mark.promise("P1")
async def test_installer_ends_with_its_agent(engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An agent that is killed while it installs an engine leaves no installer at work, and its successor makes it whole.
    """
    build = Build(tmp_path, monkeypatch)
    program = (
        "import asyncio, sys; from pathlib import Path; from tests.agent.runtime.test_engines import BUILT, Engines;"
        "asyncio.run(Engines(*map(Path, sys.argv[1:])).ensure('tiny', BUILT, print))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "data"), str(tmp_path / "cache")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as agent:  # noqa: ASYNC220  # killed at once
        await until(build.started.exists, "the build began")
        agent.kill()
    builder = int(build.started.read_text())
    await until(lambda: not procfs.alive(procfs.identify(builder)), "the build of a dead agent goes on")
    build.may_end.touch()
    directory = await engines.ensure("tiny", BUILT, lambda _: None)

    assert _output(directory / "bin" / "python", "-c", "import builtengine; print(builtengine.NAME)") == "builtengine"
    assert sorted(path.name for path in directory.parent.iterdir()) == [".3.lock", "3"]


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "x" * 200])
async def test_name_that_is_a_path_is_refused(engines: Engines, name: str) -> None:
    """
    A backend or version whose name could leave the engines' folder is refused.
    """
    with pytest.raises(EngineInstallError, match="cannot name an engine's directory"):
        await engines.ensure(name, VERSION, lambda _: None)
    assert not engines.installed("tiny", name)


async def test_instance_downloads_its_engine_first(
    engines: Engines, supervisor: Supervisor, backends: ServerBackends, tmp_path: Path, data_dir: Path
) -> None:
    """
    An assignment whose engine is not there yet is downloading, then runs with the environment.
    """
    backends.version = Version(version="1", environment=Environment(requirements=("tinyengine",)))
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.DOWNLOADING)
    await until_state(supervisor, State.RUNNING)

    assert seen.message.startswith("engine server 1: ")
    assert supervisor.installed("server", "1")
    assert backends.requests[0].engine_dir == data_dir / "engines" / "server" / "1"


async def test_instance_whose_engine_cannot_be_had(
    engines: Engines, supervisor: Supervisor, backends: ServerBackends, tmp_path: Path
) -> None:
    """
    An engine that cannot be installed is the instance's failure, by that reason.
    """
    backends.version = Version(version="1", environment=Environment(requirements=("no-such-engine",)))
    supervisor.apply(desired(assignment(tmp_path, restart=False)))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert seen.last_failure.reason == "ENGINE_INSTALL"


def _output(program: Path, *arguments: str) -> str:
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, timeout=30).stdout.strip()


class Build:
    """
    A package that pip has to build first; the build says that it began, and ends when it may.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.may_end = folder / "build-started", folder / "build-may-end"
        built = folder / "built"
        built.mkdir()
        self.wheel = _wheel(built, "builtengine")
        source = folder / "builtengine-1.0"
        source.mkdir()
        (source / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: builtengine\nVersion: 1.0\n")
        (source / "backend.py").write_text(
            "import os, pathlib, shutil, time\n"
            "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
            f"    pathlib.Path({str(self.started) + '.new'!r}).write_text(str(os.getpid()))\n"
            f"    os.rename({str(self.started) + '.new'!r}, {str(self.started)!r})\n"
            f"    while not os.path.exists({str(self.may_end)!r}):\n"
            "        time.sleep(0.01)\n"
            f"    shutil.copy({str(self.wheel)!r}, folder)\n"
            f"    return {self.wheel.name!r}\n"
        )
        with tarfile.open(folder / "wheels" / "builtengine-1.0.tar.gz", "w:gz") as archive:
            archive.add(source, source.name)


def _wheel(folder: Path, name: str = "tinyengine") -> Path:
    """Write the wheel of a package with one module and one script."""
    info = f"{name}-1.0.dist-info"
    short = name if name != "tinyengine" else "tiny"
    files = {
        f"{name}.py": f"NAME = '{short}'\ndef main():\n    print(NAME)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    rows = []
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{file},sha256={digest},{len(text)}")
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))
    return path
