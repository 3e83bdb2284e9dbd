"""What the launcher is asked, and what it answers: nothing else passes between an agent and root.

A request and its answer are a line of JSON each. Fields that are not here are refused.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

SOCKET = "/run/motorpool-launcher/socket"
"""Where the launcher listens, as installed."""

MOST_BYTES = 1 << 20
"""How long a request may be; an engine's command line and environment take some KiB."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*\Z")]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4096, pattern=r"^/[^\x00\n]*\Z")]
Word = Annotated[str, msgspec.Meta(max_length=131_072, pattern=r"^[^\x00]*\Z")]


class Hello(msgspec.Struct, tag="hello", forbid_unknown_fields=True):
    """Whose launcher is this? Answered by systemd's version."""


class Show(msgspec.Struct, tag="show", forbid_unknown_fields=True):
    """What units are there: one by its name, those of an assignment, or all of this agent."""

    unit: Name | None = None
    assignment: Name | None = None


class Start(msgspec.Struct, tag="start", forbid_unknown_fields=True, kw_only=True):
    """Run an engine in a unit of its own, as a user of its own.

    ``files`` are the launch's own, by the paths at which the engine looks; ``reads`` are folders and files of the agent
    that it reads: its environment, and models that the agent fetched. ``device_nodes`` are all that it may open.
    """

    unit: Name
    title: Word
    backend: Name
    argv: Annotated[list[Word], msgspec.Meta(min_length=1, max_length=4096)]
    environment: Annotated[dict[Word, Word], msgspec.Meta(max_length=1024)]
    device_nodes: Annotated[list[Path], msgspec.Meta(max_length=1024)] = []
    files: Annotated[dict[Path, Word], msgspec.Meta(max_length=64)] = {}
    reads: Annotated[list[Path], msgspec.Meta(max_length=64)] = []
    memory_limit_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Signal(msgspec.Struct, tag="signal", forbid_unknown_fields=True):
    """Send TERM to a unit's first process, or KILL to all that is in its control group."""

    unit: Name
    kill: bool = False


class Stop(msgspec.Struct, tag="stop", forbid_unknown_fields=True):
    """Have systemd end a unit, whole."""

    unit: Name


class Forget(msgspec.Struct, tag="forget", forbid_unknown_fields=True):
    """Have systemd forget how a unit ended; what it kept on disk goes with it."""

    unit: Name


Request = Hello | Show | Start | Signal | Stop | Forget


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of a request: what systemd's command said; or, with a ``reason``, why it was not asked."""

    status: int = 0
    out: str = ""
    errors: str = ""
    reason: str = ""
    message: str = ""
    final: bool = False
