"""Answers the controller's questions, each once; to delete model files is one of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from motorpool_agent.reconcile.assignment import DeleteFiles, ReadModel
from motorpool_agent.reconcile.observation import Answer
from motorpool_agent.state.errors import ModelFilesError
from motorpool_formats import FormatError, ModelFacts, ModelNotFoundError

# The two clocks may disagree: a deadline shortens or lengthens the wait, and never makes it nothing.
_WAIT_SECONDS = (5.0, 60.0)
_READERS = 4

log = logging.getLogger(__name__)


class Questions:
    """Reads models' headers in threads, so that a dead file server holds up one question and not the session.

    An answer is kept until its question is withdrawn. A read that hangs keeps its thread: at most four of them.
    """

    def __init__(
        self,
        *,
        read: Callable[[Path], ModelFacts],
        notify: Callable[[], None],
        delete: Callable[[str, str], Awaitable[int]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._read = read
        self._delete = delete or _nothing_to_delete
        self._notify = notify
        self._now = now
        self._free = asyncio.Semaphore(_READERS)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._answers: dict[str, Answer] = {}

    def answers(self) -> Mapping[str, Answer]:
        """Return the answers by query id."""
        return self._answers

    def update(self, queries: Mapping[str, ReadModel | DeleteFiles]) -> None:
        """Take over the questions that are open now."""
        for query_id in [each for each in self._tasks if each not in queries]:
            self._tasks.pop(query_id).cancel()
        for query_id in [each for each in self._answers if each not in queries]:
            del self._answers[query_id]
        for query_id, query in queries.items():
            if query_id not in self._tasks and query_id not in self._answers:
                task = asyncio.get_running_loop().create_task(
                    self._carry_out(query) if isinstance(query, DeleteFiles) else self._answer(query)
                )
                self._tasks[query_id] = task

    async def close(self) -> None:
        """Stop answering."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, order: DeleteFiles) -> None:
        """Delete a model's files, and answer with what came free."""
        try:
            answer = Answer(query_id=order.query_id, freed_bytes=await self._delete(order.files_id, order.etag))
        except ModelFilesError as error:
            answer = Answer(query_id=order.query_id, error_reason=error.reason, error_message=str(error))
        except Exception as error:
            log.exception("files not deleted", extra={"files": order.files_id})
            answer = Answer(
                query_id=order.query_id, error_reason="FILES_NOT_DELETED", error_message=f"{order.files_id}: {error}"
            )
        self._answers[order.query_id] = answer
        self._tasks.pop(order.query_id, None)
        self._notify()

    async def _answer(self, query: ReadModel) -> None:
        shortest, longest = _WAIT_SECONDS
        wait_seconds = min(longest, max(shortest, (query.deadline - self._now()).total_seconds()))
        try:
            async with asyncio.timeout(wait_seconds):
                await self._free.acquire()
                facts = await self._read_in_thread(Path(query.local_path))
            answer = Answer(query_id=query.query_id, facts=facts)
        except TimeoutError:
            answer = Answer(
                query_id=query.query_id,
                error_reason="MODEL_UNREADABLE",
                error_message=(
                    f"{query.local_path} was not read within {wait_seconds:.0f} s; "
                    "check the disk or file server that it lies on"
                ),
            )
        except FormatError as error:
            answer = Answer(query_id=query.query_id, error_reason=error.reason, error_message=str(error))
        except Exception as error:
            # The file is a stranger's: whatever reading it does costs this answer and nothing else.
            log.exception("model not read", extra={"path": query.local_path})
            answer = Answer(
                query_id=query.query_id,
                error_reason="MODEL_UNREADABLE",
                error_message=f"{query.local_path} cannot be read: {type(error).__name__}: {error}",
            )
        self._answers[query.query_id] = answer
        self._tasks.pop(query.query_id, None)
        log.info("question answered", extra={"path": query.local_path, "reason": answer.error_reason or "ok"})
        self._notify()

    async def _read_in_thread(self, path: Path) -> ModelFacts:
        """Return a model's facts. A thread of its own, and a daemon: one that hangs must not hold up the exit."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[ModelFacts] = loop.create_future()

        def finish(facts: ModelFacts | None, error: BaseException | None) -> None:
            self._free.release()
            if done.cancelled():
                return
            if facts is not None:
                done.set_result(facts)
            else:
                done.set_exception(error or RuntimeError("no facts"))

        def work() -> None:
            facts: ModelFacts | None = None
            failure: BaseException | None = None
            try:
                facts = self._read_absolute(path)
            except Exception as error:  # noqa: BLE001  # raised again where it is awaited
                failure = error
            with contextlib.suppress(RuntimeError):  # the agent ended meanwhile
                loop.call_soon_threadsafe(finish, facts, failure)

        threading.Thread(target=work, name="read-model", daemon=True).start()
        return await done

    def _read_absolute(self, path: Path) -> ModelFacts:
        if not path.is_absolute():
            raise ModelNotFoundError(str(path), "this is no absolute path", "give the whole path")
        return self._read(path)


async def _nothing_to_delete(files_id: str, _: str) -> int:
    raise ModelFilesError(f"{files_id}: this agent keeps no models' files", reason="FILES_NOT_DELETED")
