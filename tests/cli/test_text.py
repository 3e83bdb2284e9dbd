from datetime import UTC, datetime

import pytest
import typer
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.failures import CommandError, Exit


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (123_456_789, "118 MiB"),
        (141 * 1024**3, "141 GiB"),
        (5000 * 1024**5, "5000 PiB"),
        (-2048, "-2 KiB"),
    ],
)
def test_size(count: int | None, shown: str) -> None:
    """
    A size has three figures; unknown is a dash, and zero is zero.
    """
    assert shown == text.size(count)


@pytest.mark.parametrize(
    ("seconds_ago", "shown"), [(-5, "0s"), (59, "59s"), (60, "1m"), (7200, "2h"), (3 * 86400, "3d")]
)
def test_age(seconds_ago: int, shown: str) -> None:
    """
    An age has its largest unit alone; clocks that differ make none negative.
    """
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert shown == text.age(Timestamp(seconds=int(now.timestamp()) - seconds_ago), now)


def test_no_time() -> None:
    """
    A time that never was is a dash.
    """
    assert ("-", "-") == (text.age(Timestamp()), text.clock(Timestamp()))


@pytest.mark.parametrize(
    ("kind", "number", "shown"),
    [
        (v1.InstanceState, v1.INSTANCE_STATE_RUNNING, "RUNNING"),
        (v1.MemoryKind, v1.MEMORY_KIND_CARVE_OUT, "CARVE_OUT"),
        (v1.Health, v1.HEALTH_HEALTHY, "HEALTHY"),
        (v1.Role, 77, "77"),
    ],
)
def test_word(kind: type, number: int, shown: str) -> None:
    """
    An enum's value loses its prefix; one of a newer controller is its number.
    """
    assert shown == text.word(kind, number)  # type: ignore[arg-type]  # each enum has a class of its own


@pytest.mark.parametrize(
    ("value", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("24h", 86400), ("7d", 7 * 86400), (120, 120)]
)
def test_parse_duration(value: str | float, seconds: float) -> None:
    """
    A length of time has a unit, or is in seconds.
    """
    assert seconds == text.parse_duration(value)


@pytest.mark.parametrize("value", ["", "0", "0.5s", "-1", "1w", "1h30m", "4000d", "nan", "1e9", "9" * 400])
def test_parse_no_duration(value: str) -> None:
    """
    Anything else is refused.
    """
    with pytest.raises(typer.BadParameter, match="is not a length of time"):
        text.parse_duration(value)


@pytest.mark.parametrize(
    ("value", "count"),
    [("7", 7), ("1kB", 1000), ("1KiB", 1024), (" 1.5 GiB ", 3 * 512 * 1024**2), ("2tb", 2 * 10**12)],
)
def test_parse_size(value: str, count: int) -> None:
    """
    A size has a decimal or a binary unit, or is in bytes.
    """
    assert count == text.parse_size("--memory", value)


@pytest.mark.parametrize("value", ["", "GiB", "-1", "1 XB", "1e9", "0x10", "9" * 400])
def test_parse_no_size(value: str) -> None:
    """
    Anything else is refused, with the option's name.
    """
    with pytest.raises(CommandError, match=r"--memory .*is not a size") as caught:
        text.parse_size("--memory", value)

    assert Exit.USAGE is caught.value.exit_code


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain ☃ 模型", "plain ☃ 模型"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\rb\tc\x9b", r"a\rb\tc\x9b"),
        ("two\nlines", "two\nlines"),
        ("\u202eabc", r"\u202eabc"),
        ("no\xa0break", "no\xa0break"),
    ],
)
def test_printable(value: str, shown: str) -> None:
    """
    Letters of every script stay; what moves a cursor or turns the direction is escaped.
    """
    assert shown == text.printable(value)


@pytest.mark.parametrize(
    ("written", "seconds"), [("never", -1.0), ("-1", -1.0), ("0", 0.0), ("0s", 0.0), ("5m", 300.0), ("90", 90.0)]
)
def test_reschedule_after(written: str, seconds: float) -> None:
    """
    How long a lost node keeps its instances may be no time at all, or for ever.
    """
    assert seconds == text.parse_reschedule_after(written)


@pytest.mark.parametrize("written", ["", "soon", "-5m", "1e3", "nan"])
def test_what_is_no_reschedule_after(written: str) -> None:
    """
    Anything else is refused, with what may be written.
    """
    with pytest.raises(typer.BadParameter, match="write e"):
        text.parse_reschedule_after(written)


@pytest.mark.parametrize(("seconds", "words"), [(-1, "never"), (0, "0s"), (90, "90s"), (300, "5m"), (7200, "2h")])
def test_length(seconds: float, words: str) -> None:
    """
    A length of time is told as an option takes it.
    """
    assert words == text.length(seconds)
