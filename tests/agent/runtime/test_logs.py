"""Logs: the shim's rotation, which runs are kept, and reading over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motorpool_agent.runtime import logreading, logs
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.runtime.logreading import Batch, Wanted
from motorpool_agent.runtime.secrets import Secrets
from motorpool_agent.runtime.shim.rotation import Log, stamp
from tests.agent.runtime.fakes import until

LIMIT_BYTES = 400
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(name="write")
def _write(tmp_path: Path) -> Callable[..., None]:
    """Writes to the log of a run as a shim does, in files of some hundred bytes."""
    open_logs: dict[int, Log] = {}

    def write(run: int, text: str, at_seconds: float | None = None) -> None:
        if run not in open_logs:
            open_logs[run] = Log(str(logs.prepare(tmp_path, run, tmp_path / "work")), LIMIT_BYTES, logs.FILES)
        at = b"" if at_seconds is None else stamp(MIDNIGHT.timestamp() + at_seconds)
        open_logs[run].write(text.encode(), at)

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

    assert expected[-count:] == logreading.tail(directory, 1, count)


@settings(deadline=None)
@given(
    pieces=st.lists(st.text("ab\n", max_size=60), max_size=60),
    breaks=st.sets(st.integers(0, 60)),
    agents=st.sets(st.integers(0, 60)),
)
def test_who_comes_back_loses_nothing_and_reads_nothing_twice(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], breaks: set[int], agents: set[int]
) -> None:
    """
    However an engine's output was cut, rotated and written on by another shim: a reader whose stream breaks between
    any two batches, and who goes on from the last one's position, has every line once, in order.
    """
    directory = tmp_path_factory.mktemp("log")
    file = logs.prepare(directory, 1, directory)
    log = Log(str(file), LIMIT_BYTES * 5, logs.FILES)
    got: list[str] = []
    position = ""
    for number, piece in enumerate(pieces):
        log.write(piece.encode())
        if number in agents:
            log.close()
            log = Log(str(file), LIMIT_BYTES * 5, logs.FILES)
        # Before more is written than is kept.
        if number in breaks or number % 4 == 0:
            for batch in asyncio.run(_batches(directory, Wanted(position=position))):
                if batch.position:
                    got += batch.lines
                    position = batch.position
    log.write(b"\n")
    for batch in asyncio.run(_batches(directory, Wanted(position=position))):
        got += batch.lines

    assert f"{''.join(pieces)}\n".split("\n")[:-1] == got


def test_log_is_of_bounded_size(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    However much an engine writes, its log has four files of about the size given, with the newest lines; each begins
    with a line.
    """
    for number in range(500):
        write(1, f"line {number}\n")
    files = list((tmp_path / "logs").iterdir())

    assert len(files) == 4
    assert all(file.stat().st_size <= LIMIT_BYTES for file in files)
    assert all(file.read_bytes().split(b" ", 1)[1].startswith(b"line ") for file in files)
    assert logreading.tail(tmp_path, 1, 3) == ["line 497", "line 498", "line 499"]


def test_line_without_end_is_rotated_too(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    An engine that never ends its line fills four files and no more.
    """
    for _ in range(100):
        write(1, "x" * 300)

    assert sum(file.stat().st_size for file in (tmp_path / "logs").iterdir()) <= 4 * (LIMIT_BYTES + 300)


def test_attempts_that_are_kept_keep_their_logs(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    Of the runs those that are named keep their logs, and the last one.
    """
    for run in range(1, 8):
        for number in range(30):
            write(run, f"run {run} line {number}\n")
    logs.keep(tmp_path, {1, 4})

    assert logs.runs(tmp_path) == [1, 4, 7]


def test_start_that_came_to_nothing_leaves_no_log(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    A run that is begun once more begins with an empty log, and the ones before it stay.
    """
    for run in (1, 2, 3):
        write(run, f"{run}\n")
    logs.prepare(tmp_path, 3, tmp_path)

    assert logs.runs(tmp_path) == [1, 2]


async def test_attempts_by_number_and_counted_back(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    An attempt is read by its number, or counted back from the present one; of others it is told which there are.
    """
    assert await _all(tmp_path) == []
    for run in (1, 4, 5):
        write(run, f"run {run}\n")

    assert await _all(tmp_path, attempt=4, follow=True) == ["run 4"]
    assert await _all(tmp_path, attempt=-1) == ["run 4"]
    assert await _all(tmp_path, attempt=-2) == ["run 1"]
    assert await _all(tmp_path) == ["run 5"]
    for absent in (2, 6, -3):
        with pytest.raises(RuntimeFault, match="there are those of: 1, 4, 5") as caught:
            await _all(tmp_path, attempt=absent)
        assert caught.value.reason == "ATTEMPT_UNKNOWN"


@pytest.mark.parametrize(
    ("tail_lines", "expected"), [(-1, ["a", "b", "c"]), (2, ["b", "c"]), (0, []), (9, ["a", "b", "c"])]
)
async def test_how_many_lines(tmp_path: Path, write: Callable[..., None], tail_lines: int, expected: list[str]) -> None:
    """
    A negative number is all, zero is none, and more than there are is all.
    """
    write(1, "a\nb\nc")

    assert expected == await _all(tmp_path, tail_lines=tail_lines)


@pytest.mark.parametrize(
    ("since_seconds", "tail_lines", "expected"),
    [(0, -1, 30), (10, -1, 20), (10, 5, 5), (28, 5, 2), (29.5, -1, 0), (-60, 7, 7)],
)
async def test_since(
    tmp_path: Path, write: Callable[..., None], since_seconds: float, tail_lines: int, expected: int
) -> None:
    """
    Lines from a time on, over rotation; of those the last ones, where only so many are asked for.
    """
    for second in range(30):
        write(1, f"line {second}\n", second)
    since = datetime.fromtimestamp(MIDNIGHT.timestamp() + since_seconds, UTC)

    assert [f"line {second}" for second in range(30 - expected, 30)] == await _all(
        tmp_path, since=since, tail_lines=tail_lines
    )


async def test_the_last_line_of_one_that_writes_on(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    Who asks for the last line of a log gets one, also where another follows it while the answer is on its way.
    """
    write(1, "one\n")
    said: list[str] = []
    async for batch in logreading.lines(tmp_path, Wanted(tail_lines=1)):
        said += batch.lines
        write(1, "two\n")

    assert ["one"] == said


async def test_timestamps(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    Lines begin with their time where that is asked for; what an agent of before wrote has none.
    """
    logs.prepare(tmp_path, 1, tmp_path).write_bytes(b"of before\n")
    write(2, "first, ", 1)
    write(2, "and its end\nsecond\n", 2.25)

    assert await _all(tmp_path, attempt=1, timestamps=True) == ["of before"]
    assert await _all(tmp_path, timestamps=True) == [
        "2026-11-21T00:00:01.000000Z first, and its end",
        "2026-11-21T00:00:02.250000Z second",
    ]
    assert await _all(tmp_path) == ["first, and its end", "second"]


async def test_rotated_away_before_it_was_read(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    Who comes back to a place that was rotated away is told so, and has what is left.
    """
    write(1, "first\n", 0)
    [batch] = await _batches(tmp_path, Wanted())
    for second in range(1, 200):
        write(1, f"line {second}\n", second)
    lost, *rest = await _batches(tmp_path, Wanted(position=batch.position))

    assert "rotated away" in lost.lines[0]
    assert [line for batch in rest for line in batch.lines][-1] == "line 199"


async def test_reader_who_is_too_slow_is_told(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    Who reads slower than the engine writes, by more than the files hold, is told that there may be a gap.
    """
    write(1, "first\n", 0)
    batches = logreading.lines(tmp_path, Wanted())
    assert (await anext(batches)).lines == ["first"]
    for second in range(1, 200):
        write(1, f"line {second}\n", second)
    rest = [line async for batch in batches for line in batch.lines]

    assert 1 == sum("rotated away" in line for line in rest)
    assert rest[-1] == "line 199"


async def test_following_over_rotation_and_restart(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    A follower gets every line once and in order, over rotation and into the next run, until the instance is gone.
    """
    write(1, "first\n")
    got: list[str] = []
    gone = False

    async def follow() -> None:
        async for batch in logreading.lines(tmp_path, Wanted(follow=True), ended=lambda: gone):
            got.extend(batch.lines)

    reader = asyncio.create_task(follow())
    await until(lambda: got == ["first"])
    expected = ["first"]
    for run in (1, 2):
        for number in range(20):
            # Fewer than the files hold, then a look: a follower may lag by what is kept, not by more.
            write(run, f"run {run} line {number}\n" if number < 19 else f"run {run} without an end")
            expected.append(f"run {run} line {number}" if number < 19 else f"run {run} without an end")
            if number % 8 == 7:
                await until(lambda: got == expected, "the follower has all")
    gone = True
    await asyncio.wait_for(reader, 10)

    assert expected == got


async def test_many_follow_one_log(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    Readers of one log are as many as like, each with all of it.
    """
    gone = False

    async def follow() -> list[str]:
        batches = logreading.lines(tmp_path, Wanted(follow=True), ended=lambda: gone)
        return [line async for batch in batches for line in batch.lines]

    readers = [asyncio.create_task(follow()) for _ in range(30)]
    for number in range(20):
        write(1, f"line {number}\n")
        await asyncio.sleep(0)
    gone = True

    assert [[f"line {number}" for number in range(20)]] * 30 == await asyncio.gather(*readers)


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


async def test_secrets_are_not_read(tmp_path: Path, write: Callable[..., None]) -> None:
    """
    What the launch knows as a secret is replaced, wherever the engine's writes cut it.
    """
    for piece in ("key is hf_pla", "nted_secret!\n"):
        write(1, piece)
    secrets = Secrets(("hf_planted_secret",))
    batches = logreading.lines(tmp_path, Wanted(), secrets=lambda: secrets)

    assert [["key is ***!"]] == [batch.lines async for batch in batches]
    assert ["key is ***!"] == logreading.tail(tmp_path, 1, 5, secrets)


async def _all(directory: Path, **wanted: Any) -> list[str]:
    return [line for batch in await _batches(directory, Wanted(**wanted)) for line in batch.lines]


async def _batches(directory: Path, wanted: Wanted) -> list[Batch]:
    return [batch async for batch in logreading.lines(directory, wanted)]
