"""What can be wrong with the state on disk.

StateError
├── DataDirectoryError     DATA_DIRECTORY         cannot be used, or another agent uses it
├── HandleError            HANDLE_CORRUPT         a handle that cannot be read; kept, and its process left alone
├── DesiredRefusedError    WRONG_CLUSTER | DESIRED_STALE | DESIRED_CORRUPT
└── ModelFilesError        DISK_FULL | DIGEST_MISMATCH | FILES_IN_USE | MODEL_NOT_FOUND | HUB_UNREACHABLE | …
"""

from __future__ import annotations


class StateError(Exception):
    """A fault of the state on disk; ``reason`` is stable, the message says what, where and what to do."""

    reason = "STATE"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class DataDirectoryError(StateError):
    """The data directory cannot be used by this agent."""

    reason = "DATA_DIRECTORY"


class HandleError(StateError):
    """A handle that cannot be read or written."""

    reason = "HANDLE_CORRUPT"


class DesiredRefusedError(StateError):
    """A desired state that this agent must not carry out."""

    reason = "DESIRED_STALE"


class ModelFilesError(StateError):
    """A model's files cannot be had, or be deleted."""

    reason = "MODEL_FILES"
