import json
import logging
import math
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from motorpool_agent.main.logformat import JsonFormatter


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
