"""An assignment's life, with real processes."""

# ruff: noqa: ASYNC240  # small files on a local disk, and a child that must be waited for
from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import LogSubscription, Parameter
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime import procfs
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.runtime.supervisor import Supervisor
from tests.agent.runtime.fakes import (
    ServerBackends,
    assignment,
    desired,
    tombstone,
    until,
    until_gone,
    until_state,
)


async def test_assignment_becomes_a_running_engine(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A desired assignment is launched, and is running when its probe answers.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)

    stat = procfs.read(seen.pid)
    assert stat is not None
    assert (stat.start_ticks, stat.session, False) == (seen.pid_start_ticks, seen.pid, seen.adopted)


async def test_object_is_there_at_once(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    When ``apply`` returns, a new assignment is observed.
    """
    supervisor.apply(desired(assignment(tmp_path)))

    assert ("instances/a1", 1) == (supervisor.observed()["a1"].instance, supervisor.observed()["a1"].generation)


async def test_tombstone_ends_and_removes(supervisor: Supervisor, tmp_path: Path, data_dir: Path) -> None:
    """
    A tombstone stops the engine, removes its directory, and the object disappears.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)

    supervisor.apply(desired(tombstones=[tombstone()]))
    await until_gone(supervisor)

    assert procfs.read(seen.pid) is None
    assert list((data_dir / "instances").iterdir()) == []


async def test_applying_twice_changes_nothing(supervisor: Supervisor, tmp_path: Path, backends: ServerBackends) -> None:
    """
    The same desired state a second time launches nothing and stops nothing.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(assignment(tmp_path)))

    assert seen == supervisor.observed()["a1"]
    assert len(backends.requests) == 1


async def test_higher_generation_replaces(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A higher generation ends the old engine and launches the new one; a lower one is ignored.
    """
    supervisor.apply(desired(assignment(tmp_path, generation=2)))
    old = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(assignment(tmp_path, generation=3)))
    await until(lambda: supervisor.observed()["a1"].generation == 3)
    new = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(assignment(tmp_path, generation=1)))

    assert procfs.read(old.pid) is None
    assert new == supervisor.observed()["a1"]


@pytest.mark.promise("P3")
async def test_absence_quarantines_and_kills_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An assignment that is no longer named goes on, reported as quarantined with what it was told to run, and is itself
    again when named again.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    before = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired())
    absent = supervisor.observed()["a1"]
    supervisor.apply(desired(assignment(tmp_path)))

    assert (State.QUARANTINED, before.pid, assignment(tmp_path)) == (absent.state, absent.pid, absent.assignment)
    assert before == supervisor.observed()["a1"]
    assert procfs.read(before.pid) is not None


async def test_wish_that_comes_back_during_a_removal_is_fulfilled(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An assignment that is named again while its tombstone is carried out, as by a restored store, is launched anew.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    before = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(tombstones=[tombstone()]))
    supervisor.apply(desired(assignment(tmp_path)))
    await until(lambda: supervisor.observed()["a1"].pid not in {0, before.pid})

    assert procfs.read(before.pid) is None
    assert before.pid != (await until_state(supervisor, State.RUNNING)).pid


@pytest.mark.promise("P3")
async def test_tombstone_of_a_lower_generation_kills_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A tombstone removes its generation and lower ones, and no higher one.
    """
    supervisor.apply(desired(assignment(tmp_path, generation=5)))
    before = await until_state(supervisor, State.RUNNING)
    supervisor.apply(desired(assignment(tmp_path, generation=5), tombstones=[tombstone(generation=4)]))

    assert before == supervisor.observed()["a1"]


async def test_launch_is_shown_with_secrets_masked(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    The command is reported with environment and port; secrets, and variables that are named like one, are masked.
    """
    wish = replace(assignment(tmp_path), env={"HF_TOKEN": "hf_abc", "OMP_NUM_THREADS": "1"})
    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.RUNNING)

    launch = seen.launch
    assert launch is not None
    assert {
        "ENGINE_SETTING": "on",
        "ENGINE_API_KEY": "***",
        "HF_TOKEN": "***",
        "OMP_NUM_THREADS": "1",
    } == launch.env
    assert ("process", str(launch.ports["http"])) == (launch.executor, launch.argv[5])


async def test_engine_gets_a_clean_environment(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    An engine has the plugin's variables, the user's and the secrets, and of the agent's own only a few plain ones.
    """
    monkeypatch.setenv("AGENT_PRIVATE", "1")
    monkeypatch.setenv("LD_PRELOAD", "")
    wish = replace(assignment(tmp_path, environment=""), env={"OMP_NUM_THREADS": "1"})
    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.RUNNING)
    names = {line.partition(b"=")[0] for line in Path(f"/proc/{seen.pid}/environ").read_bytes().split(b"\0")}

    assert {b"PATH", b"HOME", b"ENGINE_SETTING", b"ENGINE_API_KEY", b"OMP_NUM_THREADS"} <= names
    assert not {b"AGENT_PRIVATE", b"LD_PRELOAD", b"PYTEST_CURRENT_TEST"} & names


async def test_an_engine_has_the_proxies_that_it_was_given(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    Proxies reach the engine beneath what its deployment names itself; the report shows no password.
    """
    supervisor = make(proxies={"https_proxy": "http://me:secret@proxy:3128", "HTTPS_PROXY": "x", "no_proxy": "a"})
    await supervisor.adopt()
    supervisor.apply(desired(replace(assignment(tmp_path), env={"NO_PROXY": "b"})))
    seen = await until_state(supervisor, State.RUNNING)
    lines = set(Path(f"/proc/{seen.pid}/environ").read_bytes().split(b"\0"))

    assert {b"https_proxy=http://me:secret@proxy:3128", b"HTTPS_PROXY=x", b"NO_PROXY=b"} <= lines
    assert b"no_proxy=a" not in lines
    assert seen.launch is not None
    assert "http://***@proxy:3128" == seen.launch.env["https_proxy"]
    assert "secret" not in repr(seen)


async def test_an_engine_has_no_proxy_by_accident(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The agent's own proxy is no engine's, unless the configuration says so.
    """
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)

    lines = Path(f"/proc/{seen.pid}/environ").read_bytes().split(b"\0")

    assert [] == [line for line in lines if line.partition(b"=")[0].lower().endswith(b"_proxy")]


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", ["LD_PRELOAD", "LD_AUDIT", "PYTHONPATH", "PATH", "MOTORPOOL_INSTANCE_DIR"])
async def test_environment_that_changes_code_is_denied(supervisor: Supervisor, tmp_path: Path, name: str) -> None:
    """
    A variable by which other code would be loaded is refused by name, and nothing is launched.
    """
    supervisor.apply(desired(replace(assignment(tmp_path), env={name: "x"})))
    seen = await until_state(supervisor, State.ERROR)

    assert seen.last_failure is not None
    assert seen.last_failure.reason == "POLICY_DENIED"
    assert name in seen.message
    assert seen.launch is None


async def test_missing_model_is_waited_for(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    A model that is not there is an error that names it, and is tried again until it is there.
    """
    wish = assignment(tmp_path)
    Path(wish.model.path).unlink()
    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.ERROR)
    Path(wish.model.path).touch()
    await until_state(supervisor, State.RUNNING)

    assert seen.last_failure is not None
    assert seen.last_failure.reason == "MODEL_NOT_FOUND"
    assert wish.model.path in seen.message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"backend": "other"}, "BACKEND_UNKNOWN"),
        ({"backend_version": "9"}, "BACKEND_VERSION_UNKNOWN"),
        ({"assignment_id": "../a1"}, "ASSIGNMENT_INVALID"),
    ],
)
async def test_what_cannot_be_launched_says_why(
    supervisor: Supervisor, tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    """
    An assignment that this node cannot launch is an error with a stable reason.
    """
    wish = replace(assignment(tmp_path), **change)  # type: ignore[arg-type]  # all of them are text
    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.ERROR, wish.assignment_id)

    assert seen.last_failure is not None
    assert reason == seen.last_failure.reason


@pytest.mark.promise("P5")
@pytest.mark.parametrize(("option", "reason"), [("crash-plugin", "PLUGIN_CRASHED"), ("refuse", "REFUSED")])
async def test_plugin_that_fails_costs_its_own_instance(
    supervisor: Supervisor, tmp_path: Path, option: str, reason: str
) -> None:
    """
    A plugin that crashes or refuses is an error of that instance; another one runs.
    """
    broken = replace(assignment(tmp_path), parameters=(Parameter(option=option),))
    supervisor.apply(desired(broken, assignment(tmp_path, "a2")))
    seen = await until_state(supervisor, State.ERROR)
    await until_state(supervisor, State.RUNNING, "a2")

    assert seen.last_failure is not None
    assert reason == seen.last_failure.reason


async def test_plugins_are_waited_for(supervisor: Supervisor, tmp_path: Path, backends: ServerBackends) -> None:
    """
    An assignment that comes before the plugins are ready is launched when they are.
    """
    backends.ready.clear()
    supervisor.apply(desired(assignment(tmp_path)))
    await until(lambda: "a1" in supervisor.observed())
    assert supervisor.observed()["a1"].state is State.STARTING
    backends.ready.set()

    await until_state(supervisor, State.RUNNING)


async def test_memory_of_instances_is_measured(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    The memory that instances hold is that of their processes, and zero without any.
    """
    assert supervisor.memory_used() == {}
    supervisor.apply(desired(assignment(tmp_path)))
    await until_state(supervisor, State.RUNNING)

    [(name, held)] = supervisor.memory_used().items()
    assert "instances/" in name
    assert 1 << 20 < (held or 0) < 100 << 20


async def test_log_of_an_instance(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    The log has what the engine wrote; an unknown assignment has none.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)
    subscription = LogSubscription(subscription_id="s", assignment_id="a1")

    assert [[f"engine {seen.pid} on {seen.launch.ports['http'] if seen.launch else 0}"]] == [
        batch.lines async for batch in supervisor.lines(subscription)
    ]
    with pytest.raises(RuntimeFault, match="no assignment a2"):
        await anext(supervisor.lines(replace(subscription, assignment_id="a2")))


async def test_subscription_ends_in_time(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    Following a log ends when the subscription's time is over, without an error.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    await until_state(supervisor, State.RUNNING)
    subscription = LogSubscription(subscription_id="s", assignment_id="a1", follow=True, timeout_seconds=0.3)

    assert len([batch async for batch in supervisor.lines(subscription)]) == 1


async def test_closing_leaves_instances_running(supervisor: Supervisor, tmp_path: Path) -> None:
    """
    An agent that ends in order leaves its engines as they are.
    """
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.RUNNING)
    await supervisor.close()
    stat = procfs.read(seen.pid)

    assert stat is not None
    assert stat.alive
    os.kill(seen.pid, signal.SIGKILL)
