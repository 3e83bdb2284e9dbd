"""Engines' environments, made with the real venv and pip, from a wheel on disk."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.engines import Engines
from motorpool_agent.runtime.errors import EngineInstallError
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_sdk.backend import Environment, Version
from tests.agent.runtime.fakes import ServerBackends, assignment, desired, until_state

VERSION = Version(
    version="1.0+a",
    environment=Environment(requirements=("tinyengine==1.0",), files={"serve.py": "print('serving')\n"}),
)


@pytest.fixture(name="engines")
def _engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Engines whose pip knows one folder of wheels and no index."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _wheel(wheels)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return Engines(tmp_path / "data")


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


def _wheel(folder: Path) -> None:
    """Write the wheel of a package with one module and one script."""
    info = "tinyengine-1.0.dist-info"
    files = {
        "tinyengine.py": "NAME = 'tiny'\ndef main():\n    print(NAME)\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tinyengine\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ntinyengine = tinyengine:main\n",
    }
    rows = []
    with zipfile.ZipFile(folder / "tinyengine-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(text)}")
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))
