"""What is kept of the attempts to run an instance, in a file of its own: handles are written often and stay small."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec

from motorpool_agent.reconcile.observation import Attempt
from motorpool_agent.state.files import write_durably

FORMAT_VERSION = 1
FILE_NAME = "attempts.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """The attempts that are kept; ``row_from`` is the number of the first since the instance last ran well."""

    attempts: tuple[Attempt, ...] = ()
    row_from: int = 0

    @property
    def last_number(self) -> int:
        """The number of the last attempt that ended, 0 where none is known."""
        return self.attempts[-1].number if self.attempts else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    version: int
    kept: Attempts


def read(directory: Path) -> Attempts:
    """Return what is on disk of an instance; nothing hangs on it, so that what cannot be read is said and left."""
    path = directory / FILE_NAME
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        if file.version != FORMAT_VERSION:
            raise msgspec.ValidationError(f"it has version {file.version}, and this agent knows {FORMAT_VERSION}")
    except FileNotFoundError:
        return Attempts()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("attempts of before are not known", extra={"file": str(path), "error": str(error)})
        return Attempts()
    return file.kept


def write(directory: Path, kept: Attempts) -> None:
    """Put them on disk, whole."""
    write_durably(directory / FILE_NAME, msgspec.json.encode(_File(version=FORMAT_VERSION, kept=kept)))
