"""Fleets of simulated agents: what they cost a controller, what its answers take meanwhile, and its restart.

A controller by its command with default settings on SQLite. Every agent has a certificate, a TLS connection and a
session of its own over loopback, eight devices, and an instance "running" (``scale_agents.py``, in processes of their
own). The controller's processor time and memory alone are counted. Sizes are those of ``AGENTS`` (200 and 1,000 where
it is not given); with three or more the curves are drawn into ``scale.png``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl

from benchmarks.figures import BenchmarkError, Figure, median
from benchmarks.scale_trial import Found, Pace, percentile, trial

mpl.use("Agg")

from matplotlib import pyplot as plt  # after the backend is chosen

SIZES = (200, 1_000)
LARGEST = 10_000
VARIABLE = "AGENTS"
PLOT = Path(__file__).with_name("scale.png")
CURVE_SIZES = 3
MB = 1_000_000
AIM_CORES, AIM_MB, AIM_READ_MS, AIM_BACK_SECONDS, AIM_PLACED = 1.0, 1_500.0, 50.0, 60.0, 1_500.0
AIM_RATIO = 2.0


def measure() -> Sequence[Figure]:
    """Measure all sizes, and draw their curves."""
    trials = [trial(count, Pace()) for count in sizes(os.environ.get(VARIABLE, ""))]
    if len(trials) >= CURVE_SIZES:
        _draw(trials)
    return [figure for found in trials for figure in figures(found)]


def sizes(given: str) -> Sequence[int]:
    """Return the sizes that are asked for, the smallest first."""
    if not given.strip():
        return SIZES
    try:
        asked = sorted({int(word.replace("_", "")) for word in given.split(",")})
    except ValueError:
        asked = []
    if not asked or not 1 <= asked[0] <= asked[-1] <= LARGEST:
        raise BenchmarkError(
            f"{VARIABLE} is {given!r}; give numbers of agents from 1 to {LARGEST:,} with commas between them, "
            f"e.g. {VARIABLE}=200,1000,5000,10000"
        )
    return asked


def figures(found: Found) -> Iterator[Figure]:
    """Yield the figures of one size."""
    count = found.agents
    cores, heartbeat_us, echo_us = median(found.cores), median(found.heartbeat_us), median(found.echo_us)
    resident = max(found.resident_bytes, found.restarted_bytes)

    def figure(key: str, value: float, meaning: str, aim: float | None = None, least: float | None = None) -> Figure:
        return Figure(key=key, value=value, meaning=f"{count:,} agents: {meaning}", aim=aim, least=least)

    yield Figure(
        key=f"cores_at_{count}_agents",
        value=round(cores, 3),
        meaning=f"{count:,} agents that only live, each a heartbeat in {found.period_seconds:g} s: controller's cores",
        aim=AIM_CORES,
        bar="cores",
    )
    yield figure(
        f"mb_at_{count}_agents",
        round(resident / MB),
        "its resident memory, the greater of before and after its restart",
        AIM_MB,
    )
    yield figure(
        f"resident_kb_per_agent_{count}",
        round((resident - found.empty_bytes) / count / 1e3, 1),
        "the same for each agent and its instance, without what it takes alone",
    )
    yield figure(
        f"cpu_us_per_session_second_{count}", round(1e6 * cores / count, 1), "processor time a session and second, µs"
    )
    yield figure(
        f"heartbeat_cpu_us_{count}",
        round(heartbeat_us),
        "processor time a heartbeat, all that an idle controller does included, µs",
    )
    yield figure(
        f"heartbeat_to_echo_cpu_ratio_{count}",
        round(heartbeat_us / echo_us, 2),
        f"the same / that of a raw echo over as many connections at that pace ({echo_us:.0f} µs)",
        AIM_RATIO,
    )
    yield figure(
        f"writes_per_idle_agent_minute_{count}",
        round(found.writes / found.idle_agent_minutes, 4),
        "changes written a minute of an agent that only lives",
        0,
    )
    for name, values, meaning in (
        ("list_nodes", found.read_nodes_ms, "ListNodes, a page as the command asks for"),
        ("list_instances", found.read_instances_ms, "ListInstances, a page as the command asks for"),
        ("deploy_answered", found.answered_ms, "CreateDeployment of one replica: answered"),
        ("deploy_placed", found.told_ms, "the same: its place told by a watch"),
    ):
        read = name.startswith("list")
        for percent in (50, 99):
            yield figure(
                f"{name}_p{percent}_ms_{count}",
                round(percentile(values, percent), 1),
                f"{meaning}, ms, p{percent} of {len(values)}",
                AIM_READ_MS if read and percent == 99 else None,
            )
    yield figure(
        f"placed_per_second_{count}",
        round(found.placed_per_second),
        "an instance for each placed: on disk and told, a second",
        least=AIM_PLACED,
    )
    yield figure(
        f"back_seconds_{count}",
        round(found.restart_seconds, 1),
        "controller killed, away for 30 s, started: until all are back and known",
        AIM_BACK_SECONDS,
    )
    yield figure(f"back_cpu_seconds_{count}", round(found.restart_cpu_seconds, 1), "its processor time for that")
    yield figure(f"back_ready_{count}", found.ready, "nodes that are ready then", least=count)
    yield figure(
        f"instances_lost_{count}",
        found.instances - found.kept + found.lost,
        f"of {found.instances:,} instances ended, started anew or not running after it",
        0,
    )


def _draw(trials: Sequence[Found]) -> None:
    """Draw cores and memory over agents."""
    figure, (cores, memory) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    counts = [found.agents for found in trials]
    cores.plot(counts, [median(found.cores) for found in trials], "o-")
    cores.set(xlabel="agents", ylabel="cores", title="controller's processor time, agents only live")
    memory.plot(counts, [max(found.resident_bytes, found.restarted_bytes) / MB for found in trials], "o-", color="C1")
    memory.set(xlabel="agents", ylabel="MB", title="controller's resident memory")
    for axes, aim in ((cores, AIM_CORES), (memory, AIM_MB)):
        axes.axhline(aim, color="grey", linewidth=0.8, linestyle="--")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
    figure.savefig(PLOT, dpi=90, metadata={"Software": None})
    plt.close(figure)
