"""A change on its way into the store."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from motorpool_controller.store.pending import Pending
from motorpool_controller.store.transaction import Transaction
from motorpool_controller.store.view import View

T = TypeVar("T")


@dataclass(slots=True)
class Commit(Generic[T]):
    """A change that waits for its turn."""

    change: Callable[[Transaction], T]
    alone: bool
    done: asyncio.Future[T]
    result: T | None = None

    def evaluate(self, view: View, pending: Pending, now: datetime) -> bool:
        """Run the change; return whether it went well. What it raises is its caller's; nothing stays."""
        if self.done.done():
            return False
        transaction = Transaction(view, pending, now, alone=self.alone)
        try:
            self.result = self.change(transaction)
            if inspect.iscoroutine(self.result):
                self.result.close()
                raise TypeError("a change is a plain function: nothing is awaited inside a transaction")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001  # handed to the caller, who waits for it
            self.done.set_exception(error)
            return False
        transaction.finish()
        return True

    def resolve(self) -> None:
        """Answer the caller: it is on disk."""
        if not self.done.done():
            self.done.set_result(self.result)  # type: ignore[arg-type]  # set by evaluate

    def reject(self, error: Exception) -> None:
        """Answer the caller: nothing of it was written."""
        if not self.done.done():
            self.done.set_exception(error)
