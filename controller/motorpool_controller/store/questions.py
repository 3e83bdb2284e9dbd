"""What agents are asked about models, and what they answered. Volatile: after a restart one asks again."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from types import MappingProxyType

from motorpool_controller.scheduling.snapshot import Reading

ANSWER_WITHIN = timedelta(seconds=60)
ASK_AGAIN_AFTER = timedelta(seconds=30)
FRESH_FOR = timedelta(seconds=60)
READINGS_KEPT = 50_000
"""Of ten thousand nodes each is asked about a few models at once; were less kept than is needed, all would be asked for
ever."""
DISTINCT_KEPT = 1_000
"""Answers of which one is kept for all nodes that gave it: most give the same."""

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
        self._times: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
        """When each node was last read, by path, those first that were read longest ago."""
        self._distinct: dict[Reading, Reading] = {}
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
        after its deadline: that it was not answered is known from then on.
        """
        wanted = {*needed, *self._waiting}
        late = {key for key, question in self._open.items() if question.deadline <= now}
        changed = late | (self._open.keys() - wanted)
        for key in changed:
            self._close(key)
        for key in late & wanted:
            if key not in self._readings:
                self._keep(key, Reading(late=True), now)
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
        if reading is not None and reading.facts is not None and self._times[key[1]][key[0]] + FRESH_FOR > now:
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
        times = self._times.get(path, {})
        for node in [*takewhile(lambda node: times[node] + FRESH_FOR <= now, times)]:
            self._drop((node, path))

    def forget_node(self, node: str) -> None:
        """Forget everything about a node."""
        asked, read = list(self._asked.get(node, {})), [path for path in self._times if node in self._times[path]]
        for key in (*asked, *((node, path) for path in read)):
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
        reading = self._readings.get(key)
        if reading is None or reading.late:
            return _LONG_AGO
        return self._times[key[1]][key[0]] + ASK_AGAIN_AFTER

    def _keep(self, key: Key, reading: Reading, now: datetime) -> None:
        self._drop(key)
        if len(self._distinct) >= DISTINCT_KEPT:
            self._distinct.clear()
        self._readings[key] = self._distinct.setdefault(reading, reading)
        self.touched.add(key)
        self._times[key[1]][key[0]] = now
        while len(self._readings) > READINGS_KEPT:
            self._drop(next(iter(self._readings)))

    def _drop(self, key: Key) -> None:
        if self._readings.pop(key, None) is None:
            return
        node, path = key
        self.touched.add(key)
        del self._times[path][node]
        if not self._times[path]:
            del self._times[path]
