import json
import logging
import math
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from motorpool_telemetry.logformat import FieldsFormatter, JsonFormatter, log_to_stderr


def line(message: str, *arguments: object, **fields: object) -> str:
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, message, arguments, None)
    record.created = 1_767_323_045.678
    record.msecs = 678
    record.__dict__.update(fields)
    return FieldsFormatter().format(record)


def test_line_has_time_level_words_and_fields() -> None:
    """
    A line says when in UTC, how bad, what happened, then the fields.
    """
    assert line("%s lost", "node", node="nodes/a", seconds=3) == (
        "2026-01-02T03:04:05.678Z warning node lost node=nodes/a seconds=3"
    )


@pytest.mark.parametrize("value", ["two words", "a=b", 'a"b', "a\nb 2026-01-01 error forged", ""])
def test_field_cannot_forge_lines_or_fields(value: str) -> None:
    """
    A field with spaces, quotes, equals signs or newlines is quoted, on one line.
    """
    text = line("x", field=value)

    assert "\n" not in text
    assert 'field="' in text


def test_words_cannot_forge_lines() -> None:
    """
    What happened is quoted where it would be more than a line; its fields follow.
    """
    assert line("went %s", "wrong\nhere", path="/a b", count=3).endswith(
        r' warning "went wrong\nhere" path="/a b" count=3'
    )


def test_traceback_follows_its_line() -> None:
    """
    As text, an exception stands below the line that tells of it.
    """
    with pytest.raises(ValueError, match="invalid") as caught:
        int("no")
    error = (caught.type, caught.value, caught.tb)
    first, *rest = (
        FieldsFormatter().format(logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), error)).splitlines()
    )

    assert first.endswith(" error failed")
    assert "Traceback (most recent call last):" == rest[0]
    assert "invalid literal for int() with base 10: 'no'" in rest[-1]


@pytest.fixture(name="as_it_was")
def _as_it_was() -> Iterator[None]:
    """
    What a program sets for all of its process is set back.
    """
    root, levels = logging.getLogger(), {name: logging.getLogger(name).level for name in ("asyncio", "alembic")}
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level = handlers, level
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


def test_talkative_loggers_tell_warnings(as_it_was: None, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Of asyncio and of whatever a program names nothing below a warning is told; the rest from the level that was set.
    """
    log_to_stderr("debug", talkative=("alembic",))
    for name in ("asyncio", "alembic", "motorpool.x"):
        logging.getLogger(name).debug("debug of %s", name)
        logging.getLogger(name).warning("warning of %s", name)

    told = [text.split(" ", 1)[1] for text in capsys.readouterr().err.splitlines()]
    assert [
        "warning warning of asyncio",
        "warning warning of alembic",
        "debug debug of motorpool.x",
        "warning warning of motorpool.x",
    ] == told


def test_warnings_of_python_are_objects_too(as_it_was: None, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With JSON every line is an object, also one that no code of ours wrote.
    """
    log_to_stderr("info", "json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Set before it was captured for the test, so it is shown as it is shown without pytest.
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    (text,) = capsys.readouterr().err.splitlines()
    found = json.loads(text)
    assert ("py.warnings", "warning") == (found["logger"], found["level"])
    assert "DeprecationWarning: old" in found["message"]


def object_of(**fields: object) -> dict[str, object]:
    record = logging.LogRecord("motorpool.x", logging.WARNING, "x.py", 1, "%s lost", ("node",), None)
    record.created, record.msecs = 1_767_323_045.678, 678
    record.__dict__.update(fields)
    found: dict[str, object] = json.loads(JsonFormatter().format(record))
    return found


def test_object_has_time_level_logger_words_and_fields() -> None:
    """
    A line of JSON says when in UTC, how bad, who, what happened, then the fields, numbers as numbers.
    """
    assert {
        "time": "2026-01-02T03:04:05.678Z",
        "level": "warning",
        "logger": "motorpool.x",
        "message": "node lost",
        "node": "nodes/a",
        "seconds": 3.5,
        "retry": None,
    } == object_of(node="nodes/a", seconds=3.5, retry=None)


def test_what_json_has_not_is_text() -> None:
    """
    Paths, errors and numbers that are none are text, times are RFC 3339 in UTC, what is in lists and tables, too.
    """
    moment = datetime(2026, 1, 2, 4, 4, 5, tzinfo=timezone(timedelta(hours=1)))

    assert {"path": "/x", "error": "no", "rate": "nan", "since": "2026-01-02T03:04:05Z", "all": [1, {"2": "/y"}]} == {
        name: value
        for name, value in object_of(
            path=Path("/x"), error=ValueError("no"), rate=math.nan, since=moment, all=(1, {2: Path("/y")})
        ).items()
        if name not in {"time", "level", "logger", "message"}
    }


@pytest.mark.parametrize("name", ["time", "level", "logger", "exception"])
def test_field_cannot_pose_as_the_line_s_own(name: str) -> None:
    """
    A field of such a name is told under another one.
    """
    found = object_of(**{name: "forged"})

    assert "forged" == found[f"{name}_"]
    assert "forged" != found.get(name)


def test_traceback_is_in_its_line() -> None:
    """
    An exception with its many lines is one string.
    """
    with pytest.raises(ValueError, match="invalid") as caught:
        int("no")
    error = (caught.type, caught.value, caught.tb)
    text = JsonFormatter().format(logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), error))

    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("invalid literal for int() with base 10: 'no'")
