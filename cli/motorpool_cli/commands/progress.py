"""The states of instances as they change, a line each: the same on a terminal and in a file.

How far a download came is no change: it is asked for, each second, and told in the last line of a terminal; in a file
at every tenth.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import grpc
from rich.status import Status
from rich.text import Text

from motorpool import v1
from motorpool_cli import text, transfers
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.output import errors

_ASK_SECONDS = 1.0


class Progress:
    """Prints every change of an instance, and on a terminal a spinner with the latest one."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._begin = time.monotonic()
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()
        self._downloading: dict[str, int] = {}
        """Instances that are, by name, with the tenths that were told."""
        self._done = threading.Event()
        self._status: Status | None = errors.status("waiting") if enabled and errors.is_terminal else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._status:
            self._status.stop()

    def ask(self, connected: Client) -> None:
        """Tell how far downloads are, too, until the block ends."""
        if self._enabled:
            threading.Thread(target=self._ask, args=(connected,), daemon=True).start()

    def show(self, instance: v1.Instance) -> None:
        """Show what an instance is doing, if it differs from what was shown last."""
        with self._lock:
            if instance.state == v1.INSTANCE_STATE_DOWNLOADING:
                self._downloading.setdefault(instance.name, 0)
            else:
                self._downloading.pop(instance.name, None)
        words = _words(instance)
        if self._last.get(instance.name) == words:
            return
        self._last[instance.name] = words
        self.note(f"{text.bare(instance.name)}  {words}")

    def _ask(self, connected: Client) -> None:
        while not self._done.wait(_ASK_SECONDS):
            with self._lock:
                names = list(self._downloading)
            for name in names:
                try:
                    request = v1.GetInstanceRequest(name=name)
                    self._tell(connected.instances.GetInstance(request, timeout=TIMEOUT_SECONDS))
                except grpc.RpcError:
                    continue  # whoever waits hears of it

    def _tell(self, instance: v1.Instance) -> None:
        """Tell how far a download is."""
        done = transfers.share(instance)
        if done is None:
            return
        line = f"{text.bare(instance.name)}  {transfers.bar(instance)}{transfers.words(instance)}"
        if self._status:
            self._status.update(Text(text.printable(line)))
        with self._lock:
            told = self._downloading.get(instance.name)
            due = not self._status and told is not None and int(done * 10) > told
            if due:
                self._downloading[instance.name] = int(done * 10)
        if due:
            self.note(line)

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
    if how_far := transfers.words(instance):
        words += f", {how_far}"
    detail = instance.refusals[0].message if instance.refusals else instance.state_message
    return f"{words}: {detail}" if detail else words
