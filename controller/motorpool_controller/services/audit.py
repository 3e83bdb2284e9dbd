"""Who changed what, from where, and how it ended; and who was turned away. Lines of JSON in the data directory."""

from __future__ import annotations

import getpass
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.message import Message

FILE = "audit.jsonl"
MOST_BYTES = 16 * 1024 * 1024
FILES_KEPT = 8
"""Of that size, beside the present one: the oldest goes."""
WINDOW = timedelta(minutes=1)
MOST_KINDS = 1_000
"""Refusals that differ are counted apart, up to so many within a window; the others together."""
_CHARACTERS = 256
_ALSO = frozenset(
    {"/motorpool.v1.EnrollmentService/Enroll", "/motorpool.v1.DeploymentService/GetDeploymentCredentials"}
)
"""Changes that cannot be tried beforehand, and what gives away a secret."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One call, or several refused ones that are alike. It holds names, and nothing of a request else."""

    time: datetime
    method: str
    result: str
    """OK, or the reason of the refusal or failure."""
    actor: str = ""
    """Who: a token's name and description, a node, or the user of a command; empty for nobody known."""
    role: str = ""
    address: str = ""
    target: str = ""
    request_id: str = ""
    dry_run: bool = False
    count: int = 1

    @property
    def denied(self) -> bool:
        """Whether somebody was turned away, rather than something failed."""
        return self.result in _DENIALS


_DENIALS = frozenset(
    {
        *("CREDENTIALS_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_USED_UP", "ROLE_INSUFFICIENT"),
        *("CERTIFICATE_EXPIRED", "CERTIFICATE_REVOKED", "NODE_BANNED", "RATE_LIMITED", "TOO_MANY_STREAMS"),
    }
)


class AuditLog:
    """The file. What cannot be written is told in the log, and keeps no call from its end."""

    def __init__(self, data_dir: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = data_dir / FILE
        self._most_bytes = most_bytes
        self._refusals: dict[tuple[str, ...], Record] = {}
        self._window_end: datetime | None = None

    def write(self, record: Record) -> None:
        """Write a call down; of refusals that are alike the first, and how many came after it within a minute."""
        self._close_window(record.time)
        if record.denied:
            if self._window_end is None:
                self._window_end = record.time + WINDOW
            key: tuple[str, ...] = (record.result, record.address, record.actor, record.method)
            if key not in self._refusals and len(self._refusals) >= MOST_KINDS:
                key, record = (record.result,), replace(record, address="several", actor="", method="several")
            if key in self._refusals:
                before = self._refusals[key]
                self._refusals[key] = replace(before, time=record.time, count=before.count + 1)
                return
            self._refusals[key] = replace(record, count=0)
        self._append([record])

    def close(self) -> None:
        """Write down what was counted."""
        self._append([each for each in self._refusals.values() if each.count])
        self._refusals.clear()

    def _close_window(self, now: datetime) -> None:
        if self._window_end is not None and now >= self._window_end:
            self.close()
            self._window_end = None

    def _append(self, records: list[Record]) -> None:
        if not records:
            return
        try:
            append(self._path, records)
            if self._path.stat().st_size >= self._most_bytes:
                self._rotate()
        except OSError as error:
            log.error("audit not written", extra={"file": self._path, "error": error.strerror})  # noqa: TRY400  # it says it all

    def _rotate(self) -> None:
        for number in range(FILES_KEPT - 1, 0, -1):
            older = _numbered(self._path, number)
            if older.exists():
                older.replace(_numbered(self._path, number + 1))
        self._path.replace(_numbered(self._path, 1))


def append(path: Path, records: list[Record]) -> None:
    """Write records at the end of a file that its owner alone reads; the commands beside a controller do so, too."""
    lines = [json.dumps({key: value for key, value in _plain(each).items() if value}) + "\n" for each in records]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # In one piece: others may be at its end as well.
        os.write(descriptor, "".join(lines).encode())
    finally:
        os.close(descriptor)


def read(data_dir: Path) -> Iterator[Record]:
    """Give what was written, the oldest first; a line that was cut off by a crash is passed over."""
    present = data_dir / FILE
    for path in (*(_numbered(present, number) for number in range(FILES_KEPT, 0, -1)), present):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            try:
                fields = json.loads(line)
                yield Record(**{**fields, "time": datetime.fromisoformat(fields["time"])})
            except (ValueError, TypeError, KeyError):
                continue


def is_audited(method: str) -> bool:
    """Return whether a method changes something: whatever does can be checked only, beforehand."""
    if method in _ALSO:
        return True
    try:
        found = descriptor_pool.Default().FindMethodByName(method.removeprefix("/").replace("/", "."))
    except KeyError:
        return False
    return "validate_only" in found.input_type.fields_by_name


def target_of(request: Message) -> str:
    """Return the name of what a request is about: its own, that of the resource in it, or the id of what it makes."""
    fields = request.DESCRIPTOR.fields_by_name
    if "name" in fields:
        return _short(getattr(request, "name"))  # noqa: B009  # whichever message it is
    for field, descriptor in fields.items():
        if field.endswith("_id") and field != "request_id" and getattr(request, field):
            return _short(f"{field.removesuffix('_id')}s/{getattr(request, field)}")
        inner = descriptor.message_type
        if inner is not None and not descriptor.is_repeated and "etag" in inner.fields_by_name:
            return _short(getattr(request, field).name)
    return ""


def local_actor() -> str:
    """Return who runs a command on the controller's machine."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "?"
    return f"{name} (uid {os.getuid()}) on this machine"


def _plain(record: Record) -> Mapping[str, object]:
    plain = {**asdict(record), "time": record.time.isoformat(timespec="milliseconds")}
    return {**plain, "count": record.count if record.count > 1 else 0}


def _short(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 1]}…"


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
