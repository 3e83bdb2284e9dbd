"""Logs: the shim's rotation, and reading over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.runtime import logs
from motorpool_agent.runtime.shim.rotation import Log
from tests.agent.runtime.fakes import until


@pytest.fixture(name="write")
def _write(tmp_path: Path) -> Callable[[int, str], None]:
    """Writes to the log of a run as a shim does, in files of at most 100 bytes."""
    open_logs: dict[int, Log] = {}

    def write(run: int, text: str) -> None:
        if run not in open_logs:
            open_logs[run] = Log(str(logs.prepare(tmp_path, run, tmp_path / "work")), 100, logs.FILES)
        open_logs[run].write(text.encode())

    return write


@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), max_size=40),
    count=st.integers(1, 60),
    cuts=st.lists(st.integers(0, 400), max_size=3),
    ended=st.booleans(),
)
def test_tail_is_the_end_of_all_parts(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int, cuts: list[int], ended: bool
) -> None:
    """
    The last lines of a log are the same however it was cut into files, with or without a last newline.
    """
    directory = tmp_path_factory.mktemp("log")
    newest = logs.prepare(directory, 1, directory)
    content = "".join(f"{line}\n" for line in lines).encode()
    expected = lines
    if not ended and content:
        content = content[:-1]
        expected = lines if lines[-1] else lines[:-1]
    edges = sorted(min(cut, len(content)) for cut in cuts)
    parts = [content[start:end] for start, end in zip([0, *edges], [*edges, len(content)], strict=True)]
    for age, part in enumerate(reversed(parts)):
        (newest if age == 0 else newest.with_name(f"{newest.name}.{age}")).write_bytes(part)

    assert expected[-count:] == logs.tail(directory, 1, count)


def test_log_is_of_bounded_size(tmp_path: Path, write: Callable[[int, str], None]) -> None:
    """
    However much an engine writes, its log has four files of the size given, with the newest lines.
    """
    for number in range(500):
        write(1, f"line {number}\n")
    files = list((tmp_path / "logs").iterdir())

    assert len(files) == 4
    assert all(file.stat().st_size <= 100 for file in files)
    assert logs.tail(tmp_path, 1, 3) == ["line 497", "line 498", "line 499"]


def test_two_runs_are_kept(tmp_path: Path, write: Callable[[int, str], None]) -> None:
    """
    A new run keeps the log of the one before it, and drops older ones.
    """
    for run in (1, 2, 3):
        for number in range(30):
            write(run, f"run {run} line {number}\n")

    assert logs.runs(tmp_path) == [2, 3]


async def test_previous_run(tmp_path: Path, write: Callable[[int, str], None]) -> None:
    """
    ``previous`` gives the run before the last, whole if so wished; nothing if there is none.
    """
    write(1, "old\n")
    assert await _all(tmp_path, previous=True, follow=True) == []
    write(2, "new\n")

    assert await _all(tmp_path, previous=True) == ["old"]
    assert await _all(tmp_path) == ["new"]


@pytest.mark.parametrize(
    ("tail_lines", "expected"), [(-1, ["a", "b", "c"]), (2, ["b", "c"]), (0, []), (9, ["a", "b", "c"])]
)
async def test_how_many_lines(
    tmp_path: Path, write: Callable[[int, str], None], tail_lines: int, expected: list[str]
) -> None:
    """
    A negative number is all, zero is none, and more than there are is all.
    """
    write(1, "a\nb\nc")

    assert expected == await _all(tmp_path, tail_lines=tail_lines)


async def test_following_over_rotation_and_restart(tmp_path: Path, write: Callable[[int, str], None]) -> None:
    """
    A follower gets every line once and in order, over rotation and into the next run, until the instance is gone.
    """
    write(1, "first\n")
    got: list[str] = []
    gone = False

    async def follow() -> None:
        async for batch in logs.lines(tmp_path, tail_lines=-1, follow=True, ended=lambda: gone):
            got.extend(batch)

    reader = asyncio.create_task(follow())
    await until(lambda: got == ["first"])
    expected = ["first"]
    for run in (1, 2):
        for number in range(20):
            # Fewer than the files hold, then a look: a follower may lag by what is kept, not by more.
            write(run, f"run {run} line {number}\n")
            expected.append(f"run {run} line {number}")
            if number % 8 == 7 or number == 19:
                await until(lambda: got == expected, "the follower has all")
    gone = True
    await asyncio.wait_for(reader, 10)

    assert expected == got


async def test_line_without_end_is_cut(tmp_path: Path) -> None:
    """
    A line of megabytes comes in pieces: a reader holds a bounded amount.
    """
    logs.prepare(tmp_path, 1, tmp_path / "work").write_bytes(b"x" * 1_000_000)
    pieces = await _all(tmp_path)

    assert sum(len(piece) for piece in pieces) == 1_000_000
    assert max(len(piece) for piece in pieces) <= 2 * 65536


async def test_no_log_yet(tmp_path: Path) -> None:
    """
    An instance that wrote nothing yet has no lines.
    """
    assert await _all(tmp_path) == []


async def _all(directory: Path, *, tail_lines: int = -1, follow: bool = False, previous: bool = False) -> list[str]:
    return [
        line
        async for batch in logs.lines(directory, tail_lines=tail_lines, follow=follow, previous=previous)
        for line in batch
    ]
