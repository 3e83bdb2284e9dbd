"""How log lines look: time, level, what happened, then its fields."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}
_OWN = frozenset({"time", "level", "logger", "message", "exception"})


class FieldsFormatter(logging.Formatter):
    """``2026-01-02T03:04:05.678Z info node lost node=nodes/a``: one line, fields at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and its traceback below it."""
        fields = "".join(f" {name}={_shown(value)}" for name, value in record.__dict__.items() if name not in _STANDARD)
        words = record.getMessage()
        if not words.isprintable():  # it stays one line
            words = json.dumps(words)
        line = f"{_time(record)} {record.levelname.lower()} {words}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, what it is about, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                # What has such a name already keeps it.
                line[f"{name}_" if name in _OWN else name] = _plain(value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


FORMATS: Mapping[str, Callable[[], logging.Formatter]] = {"text": FieldsFormatter, "json": JsonFormatter}


def log_to_stderr(level: str, form: str = "text", *, talkative: Iterable[str] = ()) -> None:
    """Send the log there, from this level on, as text or JSON; of ``talkative`` loggers warnings and worse."""
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS[form]())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if form == "json":  # so that what Python warns of is a line like the others
        logging.captureWarnings(capture=True)
    # asyncio tells of every selector it chose.
    for name in ("asyncio", *talkative):
        logging.getLogger(name).setLevel(logging.WARNING)


def _shown(value: object) -> str:
    text = str(value)
    # Quoted where it could be taken for more than one field or line.
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03}Z"


def _plain(value: object) -> object:
    """Return a value as JSON has it, and as text what it has not."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bool | int | str) or value is None or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return str(value)
