"""An instance's log, from its agent to a reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from motorpool_controller.domain.errors import NotFoundError, UnavailableError
from motorpool_controller.domain.workload import Instance
from motorpool_controller.store.live import Live
from motorpool_controller.store.taps import LogTap

DEFAULT_TAIL_LINES = 100
ANSWER_SECONDS = 10.0
READERS = 1_000
_TIMEOUT_SECONDS = 60.0
_FOLLOW_SECONDS = 24 * 3_600.0


async def lines(
    live: Live, instance: Instance, *, tail_lines: int, follow: bool, previous: bool, rank: int = 0
) -> AsyncGenerator[tuple[str, ...]]:
    """Give the lines of an instance's log as its agent sends them, until it ends or the caller leaves.

    Of an instance over several nodes each member has one; ``rank`` says whose.
    """
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
    tap = live.tap(
        node,
        instance.uid,
        tail_lines=tail_lines,
        follow=follow,
        previous=previous,
        timeout_seconds=_FOLLOW_SECONDS if follow else _TIMEOUT_SECONDS,
    )
    try:
        batch = await _first(tap, node, follow=follow)
        while batch is not None:
            yield batch
            batch = await tap.read()
        if tap.error:
            raise UnavailableError("NODE_UNREACHABLE", tap.error)
    finally:
        live.untap(tap)


async def _first(tap: LogTap, node: str, *, follow: bool) -> tuple[str, ...] | None:
    """Return the first lines. Following a silent log may take forever; an agent that leaves its session ends it."""
    try:
        async with asyncio.timeout(None if follow else ANSWER_SECONDS):
            return await tap.read()
    except TimeoutError as error:
        raise UnavailableError(
            "NODE_UNREACHABLE", f"the agent of {node} sent nothing within {ANSWER_SECONDS:g} seconds; look at its log"
        ) from error
