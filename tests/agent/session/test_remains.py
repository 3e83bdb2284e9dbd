"""What is said of memory that does not come free."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from motorpool_agent.inventory.strangers import Stranger
from motorpool_agent.reconcile.observation import OnDevices
from motorpool_agent.session.remains import SETTLES_SECONDS, Remains
from motorpool_sdk.accelerator import Process, Sample

MIB = 1 << 20
ENGINE, WORKER, OUTSIDER = 10, 11, 99
ON = {"instances/a": OnDevices(pid=ENGINE, device_ids=("card",))}


class Host:
    """Says whose each process is: the engine's and its worker's while the engine lives."""

    def __init__(self) -> None:
        self.lives = True
        self.remains = Remains(
            lambda pid: "instances/a" if self.lives and pid in {ENGINE, WORKER} else "",
            lambda pid: Stranger(pid=pid, program="engine", user="root", control_group="/x"),
        )

    def before(self, sample: Sample) -> None:
        """Show an engine that runs, and then one that has ended just now."""
        assert not self.look(sample, ON, 0.0)
        self.lives = False

    def look(self, sample: Sample, running: Mapping[str, OnDevices], now: float) -> Mapping[str, str]:
        return self.remains.look({"card": sample}, running, now)


def sample(used_mib: int | None, **processes: int | None) -> Sample:
    """A measurement; processes by the names above, in MiB."""
    pids = {"engine": ENGINE, "worker": WORKER, "outsider": OUTSIDER}
    return Sample(
        device_id="card",
        used_bytes=None if used_mib is None else used_mib * MIB,
        processes=tuple(
            Process(pid=pids[name], used_bytes=None if size is None else size * MIB) for name, size in processes.items()
        ),
    )


@pytest.fixture(name="host")
def make_host() -> Host:
    """
    A host whose instance runs.
    """
    return Host()


def test_worker_that_keeps_memory_is_named(host: Host) -> None:
    """
    A process that was the instance's and lives on is named with user and control group, until its memory is free.
    """
    host.before(sample(900, engine=300, worker=600))
    kept = sample(600, worker=600)

    assert {} == host.look(kept, {}, 1.0)
    said = host.look(kept, {}, 1.0 + SETTLES_SECONDS)["card"]
    assert "instances/a ended" in said
    assert "process 11 (engine, user root, /x)" in said
    assert "left alone" in said
    assert {} == host.look(sample(0), {}, 20.0)
    assert {} == host.look(kept, {}, 30.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (sample(500, engine=500), sample(0)),
        (sample(500, engine=500), sample(700, outsider=700)),
        (sample(900, engine=500, outsider=400), sample(400, outsider=400)),
        (sample(500), sample(20)),
        (sample(10), sample(10)),
        (sample(500), sample(None)),
        (sample(None), sample(500)),
    ],
)
def test_nothing_is_said_of_what_came_free_or_is_unknown(host: Host, before: Sample, after: Sample) -> None:
    """
    Memory that went down, that others hold, or that nobody can tell of, is no remains.
    """
    host.before(before)
    host.look(after, {}, 1.0)

    assert {} == host.look(after, {}, 20.0)


@pytest.mark.parametrize(
    ("before", "after", "left"), [(sample(500, engine=500), sample(500), 500), (sample(500), sample(490), 490)]
)
def test_memory_without_a_process(host: Host, before: Sample, after: Sample, left: int) -> None:
    """
    Memory that stays in use without a process that is named is told by its size.
    """
    host.before(before)
    host.look(after, {}, 1.0)

    assert f"{left} MiB did not come free" in host.look(after, {}, 20.0)["card"]


def test_another_engine_on_a_silent_device(host: Host) -> None:
    """
    Where a vendor names no processes, a device that another engine uses by then proves nothing.
    """
    host.before(sample(500))
    other = {"instances/b": OnDevices(pid=20, device_ids=("card",))}
    host.look(sample(500), other, 1.0)

    assert {} == host.look(sample(500), other, 20.0)
