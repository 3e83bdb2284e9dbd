"""The first look at the Docker Engine, and what it costs those who have nothing there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from motorpool_agent.runtime.docker.glance import Listed, engine, glance
from motorpool_agent.runtime.docker.labels import ASSIGNMENT
from tests.agent.runtime.docker.sockets import VERSION, engine_at


async def test_nobody_listens(tmp_path: Path) -> None:
    """
    Where there is no socket there are no containers.
    """
    assert [] == await glance(f"unix://{tmp_path}/docker.sock", {})
    assert [] == await glance("tcp://192.0.2.1:2375", {})


async def test_containers_are_listed(tmp_path: Path) -> None:
    """
    Containers come with their labels.
    """
    body = b'[{"Id": "c1", "Labels": {"motorpool.assignment": "a1"}, "Names": ["/x"]}]'

    assert [Listed(Id="c1", Labels={ASSIGNMENT: "a1"})] == await _answered(tmp_path, b"200 OK", body)


@pytest.mark.parametrize(
    ("status", "body"), [(b"500 Internal Server Error", b"[]"), (b"200 OK", b"{"), (b"200 OK", b'{"message": "no"}')]
)
async def test_answer_that_makes_no_sense(tmp_path: Path, status: bytes, body: bytes) -> None:
    """
    An answer that is no list is a fault of the host, not an empty list.
    """
    with pytest.raises(OSError, match="answered"):
        await _answered(tmp_path, status, body)


def test_agent_without_containers_imports_no_docker() -> None:
    """
    The package and what it brings along, 12 MiB, stay out until a container is wanted.
    """
    program = "import sys, motorpool_agent.main; print(*{'docker', 'requests', 'urllib3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()


async def _answered(tmp_path: Path, status: bytes, body: bytes) -> list[Listed]:
    async with engine_at(tmp_path / "docker.sock", status, body):
        return await glance(f"unix://{tmp_path}/docker.sock", {"label": [ASSIGNMENT]})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (VERSION, "Docker Engine 27.1.2"),
        (b'{"Components": [{"Name": "Podman Engine"}], "Version": "4.3.1"}', "Podman Engine 4.3.1"),
        (b'{"Version": "1.12"}', "Docker Engine 1.12"),
    ],
)
async def test_an_engine_says_what_it_is(tmp_path: Path, body: bytes, words: str) -> None:
    """
    What answers has a name and a version, whoever made it.
    """
    async with engine_at(tmp_path / "docker.sock", body=body):
        assert words == (await engine(f"unix://{tmp_path}/docker.sock")).words
