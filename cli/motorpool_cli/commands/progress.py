"""The states of instances as they change, a line each: the same on a terminal and in a file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.status import Status
from rich.text import Text

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.output import errors


class Progress:
    """Prints every change of an instance, and on a terminal a spinner with the latest one."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._begin = time.monotonic()
        self._last: dict[str, str] = {}
        self._status: Status | None = errors.status("waiting") if enabled and errors.is_terminal else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def show(self, instance: v1.Instance) -> None:
        """Show what an instance is doing, if it differs from what was shown last."""
        words = _words(instance)
        if self._last.get(instance.name) == words:
            return
        self._last[instance.name] = words
        self.note(f"{text.bare(instance.name)}  {words}")

    def note(self, words: str) -> None:
        """Show a line of its own."""
        if not self._enabled:
            return
        line = Text(text.printable(f"{time.monotonic() - self._begin:7.1f} s  {words}"))
        errors.print(line)
        if self._status:
            self._status.update(line)


def _words(instance: v1.Instance) -> str:
    words = text.word(v1.InstanceState, instance.state)
    if instance.placement.members:
        words += f" on {', '.join(text.bare(member.node) for member in instance.placement.members)}"
    if instance.HasField("progress_total_bytes") and instance.progress_total_bytes:
        share = instance.progress_bytes / instance.progress_total_bytes
        total = text.size(instance.progress_total_bytes)
        words += f", {text.size(instance.progress_bytes)} of {total} ({share:.0%})"
    detail = instance.refusals[0].message if instance.refusals else instance.state_message
    return f"{words}: {detail}" if detail else words
