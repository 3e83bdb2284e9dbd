"""`motorpool-agent doctor`: what would trip an operator up, and what to do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from motorpool_agent.config import Config
from motorpool_agent.convert.inventory import plugin_message
from motorpool_agent.identity.store import Document, Identity, IdentityStore
from motorpool_agent.inventory import PluginState
from motorpool_agent.main.doctor import Verdict, controller, directories, examine, hardware, machine
from motorpool_agent.main.survey import survey
from motorpool_agent.runtime.ports import ephemeral_overlap
from motorpool_agent.state.directory import DataDirectoryLock
from motorpool_sdk import manifest
from tests.agent.controllers import TestController, serving
from tests.agent.test_main import joining, run
from tests.plugins.made_plugins import write_plugin

NOW = datetime.now(UTC)


@pytest.fixture(name="served")
async def make_served() -> AsyncIterator[TestController]:
    """A controller that answers."""
    async with serving(TestController()) as served:
        yield served


@pytest.fixture(name="config")
def make_config(tmp_path: Path) -> Config:
    """A configuration of which no plugin is asked."""
    return Config(
        node_name="alpha", data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", allow_plugins=("none-of-them",)
    )


@pytest.fixture(name="open_folder")
def make_open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


async def examined(*arguments: str, **environment: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Run the command; return its status, and verdicts and words by check."""
    code, printed, errors = await run("doctor", "--output", "json", *arguments, **environment)
    assert not errors, errors
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in json.loads(printed)["findings"]:
        said = f"{finding['summary']} -> {finding['remedy']}"
        found.setdefault(finding["check"], []).append((finding["verdict"], said))
    return code, found


async def test_a_fresh_machine_has_no_problem(tmp_path: Path) -> None:
    """
    Before the first start there are folders to be made and a token to be got; nothing fails, and nothing is written.
    """
    code, printed, errors = await run(
        "doctor", "--data-dir", str(tmp_path / "data"), "--cache-dir", str(tmp_path / "cache")
    )

    assert (0, "") == (code, errors), printed
    lines = printed.splitlines()
    assert any(line.startswith("ok    data directory") and "made at the first start" in line for line in lines), printed
    assert any(line.startswith("warn  node") for line in lines), printed
    assert any("-> make a token with `motorpool-controller token join`" in line for line in lines), printed
    assert lines[-1].endswith("0 failed")
    assert is_empty(tmp_path)


async def test_a_running_agent_is_looked_at_and_not_disturbed(served: TestController, tmp_path: Path) -> None:
    """
    Beside an agent: who holds the directory, whose node it is, and that its controller answers as that.
    """
    await run("enroll", *joining(served, tmp_path / "data"))
    with DataDirectoryLock(tmp_path / "data"):
        code, found = await examined("--data-dir", str(tmp_path / "data"))

    assert 0 == code, found
    assert f"agent with pid {os.getpid()} runs on it" in found["data directory"][0][1]
    assert ("ok", True) == (found["node"][0][0], "nodes/alpha of cluster cluster-1, certified" in found["node"][0][1])
    assert {"ok"} == {verdict for verdict, _ in found["controller"]}
    assert "answers as the controller of cluster cluster-1" in found["controller"][0][1]


async def test_a_controller_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    """
    Nobody at the endpoint, or somebody else, is told apart; the status is 7.
    """
    async with serving(TestController()) as served:
        await run("enroll", *joining(served, tmp_path / "data"))
    code, found = await examined("--data-dir", str(tmp_path / "data"))

    assert (7, "problem") == (code, found["controller"][0][0])
    assert "does not answer: " in found["controller"][0][1]


async def test_somebody_else_at_the_endpoint_is_a_problem(config: Config) -> None:
    """
    What accepts connections and is not this cluster's controller is named as such.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    with contextlib.closing(listener):
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        IdentityStore(config.data_dir).save(identity(NOW, endpoint))
        (found,) = await controller.reachable(config)

    assert (Verdict.PROBLEM, True) == (found.verdict, "but not as the controller of cluster c" in found.summary)


def identity(begin: datetime, endpoint: str = "127.0.0.1:9") -> Identity:
    """An identity whose certificate is of a day."""
    pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
    return Identity(
        document=Document(
            cluster_id="c",
            node="nodes/alpha",
            node_uid="u",
            agent_endpoints=(endpoint,),
            renew_time=begin + timedelta(hours=12),
            expire_time=begin + timedelta(hours=24),
            enrollment_id="e",
        ),
        key_pem=pem,
        certificate_pem=pem,
        ca_pem=pem,
    )


@pytest.mark.parametrize(
    ("begin", "verdict", "said"),
    [
        (NOW - timedelta(hours=1), Verdict.OK, "nodes/alpha of cluster c, certified until"),
        (NOW - timedelta(hours=13), Verdict.WARNING, "not renewed"),
        (NOW - timedelta(hours=25), Verdict.PROBLEM, "expired at"),
        (NOW + timedelta(hours=2), Verdict.PROBLEM, "which this machine's clock is before"),
    ],
)
async def test_a_certificate_is_in_time_or_not(config: Config, begin: datetime, verdict: Verdict, said: str) -> None:
    """
    A certificate that was not renewed, is over, or has not begun says so.
    """
    IdentityStore(config.data_dir).save(identity(begin))

    (found,) = await controller.node(config)

    assert (verdict, True) == (found.verdict, said in found.summary), found


async def test_a_spoilt_identity_is_a_problem(config: Config) -> None:
    """
    Files that cannot be understood are named, and the rest of the examination goes on.
    """
    IdentityStore(config.data_dir).save(identity(NOW))
    (config.data_dir / "identity" / "identity.json").write_text("{")

    found = {finding.check: finding for finding in await examine(config)}

    assert Verdict.PROBLEM is found["node"].verdict
    assert "identity.json cannot be understood" in found["node"].summary
    assert {"data directory", "clock", "ports", "containers"} <= set(found)


async def test_a_directory_of_another_user_is_a_problem(
    open_folder: Path, as_ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    """
    Whose it is, who asks, and what to do.
    """
    (open_folder / "data").mkdir(mode=0o700)
    config = Config(node_name="alpha", data_dir=open_folder / "data" / "agent", cache_dir=open_folder)
    if os.geteuid() != 0:
        (open_folder / "data").chmod(0o000)

    with as_ordinary_user():
        (found,) = await directories.data_directory(config)

    assert Verdict.PROBLEM is found.verdict
    assert "cannot be written" in found.summary
    assert "with sudo" in found.remedy
    (open_folder / "data").chmod(0o700)


async def test_a_file_in_place_of_a_directory_is_a_problem(config: Config) -> None:
    """
    The path is named.
    """
    config.data_dir.touch()

    (found,) = await directories.data_directory(config)

    assert (Verdict.PROBLEM, f"{config.data_dir} is no directory") == (found.verdict, found.summary.split(";")[0])


async def test_ports_that_others_hold_are_not_free(config: Config) -> None:
    """
    Held ports are counted; none free is a problem, and ports of outgoing connections are to be looked at.
    """
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        taken = Config(
            node_name="a", data_dir=config.data_dir, cache_dir=config.cache_dir, port_range=range(port, port + 1)
        )
        (held,) = await machine.ports(taken)
    (ephemeral,) = await machine.ports(taken)
    low = ephemeral_overlap(range(port, port + 1))

    assert (Verdict.PROBLEM, f"0 of 1 in {port}-{port} are free") == (held.verdict, held.summary)
    assert (Verdict.WARNING if low else Verdict.OK) is ephemeral.verdict


async def test_a_container_engine_that_is_not_there_is_to_be_looked_at(
    config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """
    Only backends that come as images need one, so that its absence fails nothing.
    """
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")

    (found,) = await machine.containers(config)

    assert Verdict.WARNING is found.verdict
    assert f"no engine answers at unix://{tmp_path}/docker.sock: No such file or directory" == found.summary


@pytest.mark.promise("P5")
async def test_every_plugins_fate_is_a_line(tmp_path: Path) -> None:
    """
    A plugin that works, one for another SDK, one that fails, one that is blocked and one without hardware.
    """
    write_plugin(tmp_path, "works", kind="accelerator")
    write_plugin(tmp_path, "old", manifest='kind = "backend"\napi = "<0.1"\nprovides = "old"\n')
    write_plugin(tmp_path, "fails", kind="accelerator", first="raise RuntimeError('no luck')")
    write_plugin(tmp_path, "barred", kind="accelerator", first="raise SystemExit('never')")
    write_plugin(tmp_path, "absent", kind="accelerator", extra='libraries = ["libmotorpool-none.so"]\n')

    code, found = await examined(
        *("--data-dir", str(tmp_path / "data"), "--block-plugin", "barred"),
        PYTHONPATH=str(tmp_path),
        MOTORPOOL_ALLOW_PLUGINS="works,old,fails,barred,absent",
    )

    assert 7 == code
    assert [("ok", "2 devices, 48 GiB -> ")] == found["accelerator works"]
    ((verdict, blocked),) = found["plugins"]
    assert ("ok", True) == (verdict, "blocked by the agent's configuration: " in blocked and "barred" in blocked)
    (old,), (fails,) = found["backend old" if "backend old" in found else "plugin old"], found["accelerator fails"]
    assert ("problem", True) == (old[0], "wants SDK <0.1" in old[1])
    assert ("problem", True) == (fails[0], "RuntimeError: no luck" in fails[1])
    assert any("no hardware here of absent" in said for _, said in found["accelerators"])


async def test_a_check_that_cannot_be_made_is_a_line(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An engine's address that is none costs its own line, and no other check.
    """
    monkeypatch.setenv("DOCKER_HOST", "nonsense://")
    found = {finding.check: finding for finding in await examine(config)}

    assert found["containers"].remedy
    assert {"data directory", "node", "clock", "ports", "containers"} <= set(found)


async def test_a_plugin_for_a_deprecated_sdk_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It works, its line says so, and another what its plugin has to change; the agent tells its controller the same.
    """
    monkeypatch.setattr(manifest, "API_VERSION", "0.2")
    monkeypatch.setattr(manifest, "DEPRECATED", {"0.1": "health() is to say reasons from SDK 0.3 on"})
    monkeypatch.syspath_prepend(tmp_path)
    write_plugin(tmp_path, "aged", kind="accelerator")
    config = Config(node_name="alpha", data_dir=tmp_path / "data", cache_dir=tmp_path / "c", allow_plugins=("aged",))

    devices, advice = [each for each in await hardware.plugins(config) if each.check == "accelerator aged"]

    assert (Verdict.OK, Verdict.WARNING) == (devices.verdict, advice.verdict)
    assert "made for SDK 0.1, which is deprecated: health() is to say reasons from SDK 0.3 on" in advice.summary
    assert "upgrade made-aged" == advice.remedy
    (plugin,) = (each for each in (await survey(config)).plugins if each.status.provides == "aged")
    assert PluginState.READY is plugin.status.state
    assert advice.summary == plugin_message(plugin.status).last_error
