"""An instance's log, from its agent to a reader."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator

from motorpool import v1
from motorpool_controller.domain.errors import NotFoundError, UnavailableError
from motorpool_controller.domain.workload import Instance
from motorpool_controller.services.convert import fields
from motorpool_controller.store.live import Live
from motorpool_controller.store.taps import LogBatch, LogRequest, LogTap

DEFAULT_TAIL_LINES = 100
ANSWER_SECONDS = 10.0
READERS = 1_000
_TIMEOUT_SECONDS = 60.0
_ABSENT = frozenset({"ATTEMPT_UNKNOWN"})
_FOLLOW_SECONDS = 24 * 3_600.0


async def lines(live: Live, instance: Instance, asked: v1.StreamInstanceLogsRequest) -> AsyncGenerator[LogBatch]:
    """Give the lines of an instance's log as its agent sends them, until it ends or the caller leaves.

    Of an instance over several nodes each member has one; the rank says whose.
    """
    rank, request = asked.rank, _request(instance, asked)
    if instance.placement is None:
        raise NotFoundError(
            "NOT_FOUND",
            f"{instance.name} has no log: it is not placed yet; `motorpool explain {instance.deployment}` says why",
        )
    node = next((member.node for member in instance.placement.members if member.rank == rank), None)
    if node is None:
        raise NotFoundError(
            "NOT_FOUND",
            f"{instance.name} has no member of rank {rank}, but {len(instance.placement.members)} from 0 on; "
            f"`motorpool describe {instance.name}` lists them",
        )
    if not live.is_connected(node):
        raise UnavailableError(
            "NODE_UNREACHABLE",
            f"{node}, where {instance.name} is, has no session now; look at its agent, or try again when it is back",
        )
    if live.tap_count >= READERS:
        raise UnavailableError("BUSY", f"{READERS} logs are being read already; end one of them", retry_seconds=5.0)
    tap = live.tap(node, request)
    try:
        batch = await _first(tap, node, follow=request.follow)
        while batch is not None:
            yield batch
            batch = await tap.read()
        if tap.reason in _ABSENT:
            raise NotFoundError(tap.reason, tap.error)
        if tap.error:
            raise UnavailableError("NODE_UNREACHABLE", tap.error)
    finally:
        live.untap(tap)


def _request(instance: Instance, asked: v1.StreamInstanceLogsRequest) -> LogRequest:
    since = {each for each in ("since_time", "since_age") if asked.HasField(each)}
    if len(since) > 1:
        raise fields.invalid("since_age", "it says from when on, and so does since_time: give one of them")
    if asked.previous and asked.HasField("attempt"):
        raise fields.invalid("previous", "it names an attempt, and so does `attempt`: give one of them")
    since_seconds = fields.bounded_seconds_of(asked.since_age, "since_age") if "since_age" in since else None
    if since_seconds is not None and since_seconds < 0:
        raise fields.invalid("since_age", f"{since_seconds:g} seconds ago is to come; give a length of time")
    return LogRequest(
        subscription_id=uuid.uuid4().hex,
        assignment_id=instance.uid,
        tail_lines=asked.tail_lines if asked.HasField("tail_lines") else DEFAULT_TAIL_LINES,
        follow=asked.follow,
        attempt=asked.attempt if asked.HasField("attempt") else -asked.previous,
        since_time=fields.time_of(asked.since_time, "since_time") if "since_time" in since else None,
        since_seconds=since_seconds,
        timestamps=asked.timestamps,
        position=fields.word(asked.position, "position"),
        timeout_seconds=_FOLLOW_SECONDS if asked.follow else _TIMEOUT_SECONDS,
    )


async def _first(tap: LogTap, node: str, *, follow: bool) -> LogBatch | None:
    """Return the first lines. Following a silent log may take forever; an agent that leaves its session ends it."""
    try:
        async with asyncio.timeout(None if follow else ANSWER_SECONDS):
            return await tap.read()
    except TimeoutError as error:
        raise UnavailableError(
            "NODE_UNREACHABLE", f"the agent of {node} sent nothing within {ANSWER_SECONDS:g} seconds; look at its log"
        ) from error
