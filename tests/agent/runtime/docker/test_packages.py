"""Packages installed before an image's own command, which stays what it is."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import httpx
import pip
import pytest

from motorpool_agent.reconcile.handle import Container, LaunchRecord
from motorpool_agent.reconcile.observation import Rendered, State
from motorpool_agent.runtime.docker.packages import SCRIPT, added, own_command
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_sdk.backend import Launch
from tests.agent.runtime.fakes import assignment, desired, until_state
from tests.docker_engine import DockerEngine

IMAGE = {"Entrypoint": ["/bin/engine", "serve"], "Cmd": ["--help"]}
RECORD = LaunchRecord(
    executor="docker",
    argv=("--port", "1"),
    environment={},
    working_directory="",
    ports={"http": 1},
    listen_address="0.0.0.0",
    rendered=Rendered(executor="docker", argv=(), env={}, image="", ports={}, listen_address=""),
)


@pytest.mark.parametrize(
    ("entrypoint", "argv", "expected"),
    [
        ((), ("--port", "1"), ("/bin/engine", "serve", "--port", "1")),
        ((), (), ("/bin/engine", "serve", "--help")),
        (("/own",), ("--port", "1"), ("/own", "--port", "1")),
        (("/own",), (), ("/own",)),
    ],
)
def test_the_command_is_what_docker_would_run(
    entrypoint: tuple[str, ...], argv: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """
    The image's entrypoint is kept where the launch names none; its arguments where the launch has neither.
    """
    container = Container(image="engine:1", labels={}, entrypoint=entrypoint, packages=("greeting",))

    assert expected == own_command(IMAGE, replace(RECORD, argv=argv), container)


def test_a_process_has_no_packages_installed(tmp_path: Path) -> None:
    """
    Nothing is installed on the node itself: a launch as a process is refused, with what to do.
    """
    wish = replace(assignment(tmp_path), packages=("greeting",))

    with pytest.raises(LaunchError, match="deploy with an image") as caught:
        added(wish, Launch(argv=("engine",)))
    assert ("PACKAGES_WITHOUT_IMAGE", True) == (caught.value.reason, caught.value.final)
    assert [SCRIPT] == [file.path for file in added(wish, Launch(argv=(), image="engine:1")).files]


@pytest.fixture(name="packaged")
def make_packaged(docker: DockerEngine, tmp_path: Path) -> str:
    """
    An image with this Python, pip and a wheel, whose entrypoint wants what is in the wheel and not installed.
    """
    python = Path(sys.executable).resolve()
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "python3"
    command.write_text(f"#!{python}\nimport os, sys\nos.execv({str(python)!r}, ['python3', *sys.argv[1:]])\n")
    command.chmod(0o755)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "greeting-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("greeting.py", "WORDS = 'hello from the package'\n")
        info = "greeting-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return docker.python_image(
        Path(__file__).with_name("packaged_engine.py"),
        packages=[command.parent, wheels, Path(pip.__file__).parent],
        env={"PATH": "/app/bin", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/app/wheels"},
    )


@pytest.mark.e2e
async def test_packages_are_there_and_the_entrypoint_is_the_images(
    supervisor: Supervisor, packaged: str, docker: DockerEngine, data_dir: Path, tmp_path: Path
) -> None:
    """
    Pip installs the package, then the image's own entrypoint runs with the launch's arguments as its first process's
    successor: the failure of a command in the entrypoint's place does not happen.
    """
    wish = replace(assignment(tmp_path, image=packaged, extra=""), packages=("greeting==1.0",))

    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.RUNNING)

    assert seen.launch is not None
    async with httpx.AsyncClient(timeout=10) as client:
        answer = await client.get(f"http://127.0.0.1:{seen.launch.ports['http']}/")
    assert "hello from the package ['--extra']" == answer.text
    [container] = docker.containers(data_dir)
    assert container["State"]["Running"]


@pytest.mark.e2e
async def test_a_package_that_there_is_not_is_told(supervisor: Supervisor, packaged: str, tmp_path: Path) -> None:
    """
    What pip says is in the instance's log, and the image's own program does not run without it.
    """
    wish = replace(assignment(tmp_path, image=packaged, restart=False), packages=("no-such-package==9",))

    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert "no-such-package" in " ".join(seen.last_failure.log_tail)
