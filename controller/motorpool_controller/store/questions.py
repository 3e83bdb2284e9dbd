"""What agents are asked about models, and what they answered. Volatile: after a restart one asks again."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from motorpool_controller.scheduling.snapshot import Reading

ANSWER_WITHIN = timedelta(seconds=60)
ASK_AGAIN_AFTER = timedelta(seconds=30)
FRESH_FOR = timedelta(seconds=60)
READINGS_KEPT = 10_000

Key = tuple[str, str]

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Asks what the headers of the model at a path say."""

    query_id: str
    path: str
    deadline: datetime


class Questions:
    """Open questions and answers, by (full name of the node, path). An answer stands until a newer one comes."""

    def __init__(self) -> None:
        self._open: dict[Key, Question] = {}
        self._asked: defaultdict[str, dict[Key, Question]] = defaultdict(dict)
        """The open ones by node: each agent is told its own, and a fleet may be asked all at once."""
        self._readings: dict[Key, Reading] = {}
        self._times: dict[Key, datetime] = {}
        self._waiting: defaultdict[Key, list[asyncio.Future[Reading]]] = defaultdict(list)
        self.readings: Mapping[Key, Reading] = MappingProxyType(self._readings)
        self.touched: set[Key] = set()
        """What was answered or forgotten; whoever looks at it empties it."""

    def of(self, node: str) -> tuple[Question, ...]:
        """Return what ``node`` is being asked."""
        return tuple(self._asked.get(node, {}).values())

    def need(self, needed: Collection[Key], now: datetime) -> set[str]:
        """Ask what is needed and not being asked; drop what is no longer needed; return the nodes it changes for.

        An answer that was an error is asked for again after ``ASK_AGAIN_AFTER``, a question that nobody answered
        after its deadline.
        """
        wanted = {*needed, *self._waiting}
        changed = {key for key, question in self._open.items() if key not in wanted or question.deadline <= now}
        for key in changed:
            self._close(key)
        for key in needed:
            if key not in self._open and self._due(key) <= now:
                self._ask(key, now)
                changed.add(key)
        return {node for node, _ in changed}

    def wait(self, key: Key, now: datetime) -> asyncio.Future[Reading]:
        """Ask for somebody who waits, and return what will hold the answer; ``leave`` with it afterwards.

        Facts that were read just now are taken for the answer; an error is asked for again.
        """
        waiting: asyncio.Future[Reading] = asyncio.get_running_loop().create_future()
        reading = self._readings.get(key)
        if reading is not None and reading.facts is not None and self._times[key] + FRESH_FOR > now:
            waiting.set_result(reading)
        elif key not in self._open or self._open[key].deadline <= now:
            self._ask(key, now)
        self._waiting[key].append(waiting)
        return waiting

    def leave(self, key: Key, waiting: asyncio.Future[Reading]) -> None:
        """Stop waiting. What nobody else wants to know is dropped at the next ``need``."""
        self._waiting[key].remove(waiting)
        if not self._waiting[key]:
            del self._waiting[key]

    def next_time(self, needed: Iterable[Key]) -> datetime | None:
        """Return when ``need`` has something to do again if nothing is answered before."""
        times = [self._open[key].deadline if key in self._open else self._due(key) for key in needed]
        return min(times, default=None)

    def answer(self, node: str, query_id: str, reading: Reading, now: datetime) -> bool:
        """Take an answer; return whether somebody was waiting for it."""
        for key, question in self._asked.get(node, {}).items():
            if question.query_id == query_id:
                self._close(key)
                self._keep(key, reading, now)
                for waiting in self._waiting.get(key, ()):
                    if not waiting.done():
                        waiting.set_result(reading)
                return True
        return False

    def forget_stale(self, path: str, now: datetime) -> None:
        """Forget what is known of a path, unless it was read just now: the file may be another one since."""
        for key in [key for key, time in self._times.items() if key[1] == path and time + FRESH_FOR <= now]:
            self._drop(key)

    def forget_node(self, node: str) -> None:
        """Forget everything about a node."""
        for key in [key for key in (*self._open, *self._times) if key[0] == node]:
            self._close(key)
            self._drop(key)

    def _ask(self, key: Key, now: datetime) -> None:
        self._open[key] = Question(query_id=uuid.uuid4().hex, path=key[1], deadline=now + ANSWER_WITHIN)
        self._asked[key[0]][key] = self._open[key]

    def _close(self, key: Key) -> None:
        self._open.pop(key, None)
        self._asked[key[0]].pop(key, None)
        if not self._asked[key[0]]:
            del self._asked[key[0]]

    def _due(self, key: Key) -> datetime:
        answered = self._times.get(key)
        return _LONG_AGO if answered is None else answered + ASK_AGAIN_AFTER

    def _keep(self, key: Key, reading: Reading, now: datetime) -> None:
        self._drop(key)
        self._readings[key] = reading
        self.touched.add(key)
        self._times[key] = now
        while len(self._readings) > READINGS_KEPT:
            self._drop(next(iter(self._readings)))

    def _drop(self, key: Key) -> None:
        if self._readings.pop(key, None) is not None:
            self.touched.add(key)
        self._times.pop(key, None)
