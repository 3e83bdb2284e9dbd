"""What the shim makes of the kernel's count of kills for memory."""

from __future__ import annotations

from pathlib import Path

from motorpool_agent.runtime.shim.report import LOOK_SECONDS, Kills


def count(file: Path, kills: int) -> None:
    file.write_text(f"under_oom 0\noom_kill {kills}\n")


def test_a_kill_counts_for_a_period_or_two(tmp_path: Path) -> None:
    """
    A kill counts just after it, also if a look comes in between, and some periods later no more.
    """
    count(tmp_path / "counter", 3)
    kills = Kills(str(tmp_path / "counter"), 0)
    before = kills.happened()
    count(tmp_path / "counter", 4)
    seen = []
    for period in range(4):
        kills.look(period * LOOK_SECONDS)
        seen.append(kills.happened())

    assert not before
    assert [True, True, False, False] == seen


def test_looks_within_a_period_are_one(tmp_path: Path) -> None:
    """
    An engine that writes without pause does not shorten the time that a kill counts for.
    """
    count(tmp_path / "counter", 0)
    kills = Kills(str(tmp_path / "counter"), 0)
    count(tmp_path / "counter", 1)
    for second in range(LOOK_SECONDS):
        kills.look(second)

    assert kills.happened()


def test_nobody_counts(tmp_path: Path) -> None:
    """
    Where there is no counter, no kill is known of.
    """
    kills = Kills(str(tmp_path / "missing"), 0)
    kills.look(2 * LOOK_SECONDS)

    assert not kills.happened()
