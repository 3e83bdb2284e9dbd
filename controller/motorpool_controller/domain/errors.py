"""What can be wrong with a call.

DomainError
├── NotFoundError            the named thing does not exist
├── AlreadyExistsError       a thing of that name exists
├── InvalidError             a field, parameter or token has a value it may not have
├── ConflictError            someone else changed it first
├── PreconditionError        not in this state
├── UnauthenticatedError     who are you?
├── ForbiddenError           you may not
├── UnavailableError         not now; try again
├── OutOfRangeError          too old
├── TooLargeError            more than is allowed
├── RateLimitedError         too often; later
└── DeadlineError            it took too long

Each carries a ``reason`` of ``ErrorReason`` in the protos, and a message that says what, which, and what to do.
gRPC status is made of them in ``services/status.py`` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class DomainError(Exception):
    """A fault of the call or the world, with its stable reason and facts for machines."""

    def __init__(self, reason: str, message: str, *, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})


class NotFoundError(DomainError):
    """The named thing does not exist."""


class AlreadyExistsError(DomainError):
    """A thing of that name exists."""


class InvalidError(DomainError):
    """A field, parameter or token has a value it may not have; ``violations`` are fields with a sentence each."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(reason, message, metadata=metadata)
        self.violations = tuple(violations)


class ConflictError(DomainError):
    """Someone else changed it first."""


class PreconditionError(DomainError):
    """Not in this state."""


class UnauthenticatedError(DomainError):
    """The caller is not known."""


class ForbiddenError(DomainError):
    """The caller's role does not reach."""


class UnavailableError(DomainError):
    """Not now; ``retry_seconds`` says when."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retry_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, message, metadata=metadata)
        self.retry_seconds = retry_seconds


class OutOfRangeError(DomainError):
    """What was asked for is no longer kept."""


class TooLargeError(DomainError):
    """More than is allowed."""


class RateLimitedError(DomainError):
    """Too often, or too many at once; ``retry_seconds`` says when again."""

    def __init__(self, reason: str, message: str, *, retry_seconds: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_seconds = retry_seconds


class DeadlineError(DomainError):
    """It took longer than such a call may."""
