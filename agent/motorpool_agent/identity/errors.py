"""Why a machine cannot become, or stay, a node. ``exit_code`` is the command's.

IdentityError
├── UnreachableError    3   nobody answers, or not the cluster that the token is for
├── RefusedError        4   the controller said no; ``reason`` is its reason
└── CorruptStateError   5   what lies in the data directory contradicts itself
"""

from __future__ import annotations

from typing import ClassVar


class IdentityError(Exception):
    """What went wrong, where, and what to do about it, in one paragraph."""

    exit_code: ClassVar[int] = 1


class UnreachableError(IdentityError):
    """Nobody answers there, or somebody else than expected."""

    exit_code = 3


class RefusedError(IdentityError):
    """The controller answered, and said no."""

    exit_code = 4

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class CorruptStateError(IdentityError):
    """The identity on disk cannot be used."""

    exit_code = 5
