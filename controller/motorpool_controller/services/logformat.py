"""How log lines look: time, level, what happened, then its fields."""

from __future__ import annotations

import json
import logging
import time

_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """``2026-01-02T03:04:05.678Z info node lost node=nodes/a``: one line, fields at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and its traceback below it."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = "".join(f" {name}={_shown(value)}" for name, value in record.__dict__.items() if name not in _STANDARD)
        line = f"{moment}.{int(record.msecs):03}Z {record.levelname.lower()} {record.getMessage()}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def log_to_stderr(level: str) -> None:
    """Send the log there, from this level on."""
    handler = logging.StreamHandler()
    handler.setFormatter(FieldsFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It tells of every migration it looks at.
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _shown(value: object) -> str:
    text = str(value)
    # Quoted where it could be taken for more than one field or line.
    return text if text and text.isprintable() and not set(text) & set(' "=') else json.dumps(text)
