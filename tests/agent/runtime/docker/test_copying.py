"""The place in a container's output that was copied last."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_agent.runtime.docker.copying import Position

FIRST = "2026-11-21T05:00:00.000000001Z"
SECOND = "2026-11-21T05:00:00.5Z"
THIRD = "2026-11-21T05:00:01Z"


@pytest.mark.parametrize("copied", range(5))
def test_goes_on_where_it_stopped(tmp_path: Path, copied: int) -> None:
    """
    Wherever a copy stops, also between pieces of one time, the next goes on with the piece after, and skips none.
    """
    pieces = [FIRST, SECOND, SECOND, THIRD]
    first = Position(tmp_path / "position")
    assert 0 == first.begin()
    for time in pieces[:copied]:
        assert first.advance(time)
        first.write()
    first.close()
    second = Position(tmp_path / "position")
    second.begin()

    assert [number >= copied for number in range(len(pieces))] == [second.advance(time) for time in pieces]
    second.close()


def test_clock_that_is_set_back(tmp_path: Path) -> None:
    """
    What comes after the place is new, whatever its time.
    """
    position = Position(tmp_path / "position")
    position.begin()

    assert all(position.advance(time) for time in (THIRD, FIRST, SECOND))
    position.close()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff 1", b"2026 x"])
def test_place_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    """
    A place that makes no sense is the beginning: better twice than not at all.
    """
    file = tmp_path / "position"
    file.write_bytes(content)
    position = Position(file)

    assert 0 == position.begin()
    assert position.advance(FIRST)
    position.close()
