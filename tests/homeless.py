"""A user who has no home directory: no HOME, and a number that no name belongs to, as in many containers."""

from __future__ import annotations

import os

import pytest


def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process look like one of such a user until the test ends."""
    number = 4_294_967_000
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: number)
    monkeypatch.setattr(os, "geteuid", lambda: number)
