"""Whether an engine is ready: GET on its port answers 200, or, without a path, the port accepts a connection."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

from motorpool_agent.reconcile.handle import LaunchRecord
from motorpool_agent.runtime.exchange import NoAnswerError, Request, answer, closed, status_of


class Readiness(NamedTuple):
    """Whether an engine says that it can serve, and if it does not, what it said instead."""

    ready: bool
    missing: str = ""


async def ready(address: str, port: int, path: str | None, timeout_seconds: float) -> Readiness:
    """Return whether the engine is well; never raises for what an engine does."""
    if path is None:
        return await _accepts(address, port, timeout_seconds)
    try:
        status = await status_of(address, port, Request("GET", path), timeout_seconds)
    except NoAnswerError as error:
        return Readiness(False, f"{path} does not answer: {error}")
    return Readiness(status == 200, "" if status == 200 else f"{path} answers {status}")


async def serves(address: str, port: int, record: LaunchRecord, api_key: str) -> Readiness:
    """Return whether the engine is well and, where it lists its models, names the one that it is to serve."""
    timeout_seconds, path = record.probe_timeout_seconds, record.models_path
    well = await ready(address, port, record.probe_path, timeout_seconds)
    if not well.ready or not path:
        return well
    try:
        status, body = await answer(address, port, Request("GET", path, api_key), timeout_seconds)
    except NoAnswerError as error:
        return Readiness(False, f"{path} does not answer: {error}")
    if status != 200:
        return Readiness(False, f"{path} answers {status}")
    names = _models(body)
    if names is None:
        return Readiness(False, f"{path} answers no list of models")
    found = ", ".join(names[:5])[:200] or "none"
    return Readiness(True) if record.model in names else Readiness(False, f"{path} names {found}, not {record.model}")


async def _accepts(address: str, port: int, timeout_seconds: float) -> Readiness:
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(address, port)
            await closed(writer)
    except (OSError, TimeoutError):
        return Readiness(False, "its port accepts no connection")
    return Readiness(True)


def _models(body: bytes) -> list[str] | None:
    """Return the ids and aliases that a list of models has; None if it is none."""
    try:
        models = json.loads(body)["data"]
        names = [name for model in models for name in (model["id"], *(model.get("aliases") or ()))]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return [name for name in names if isinstance(name, str)]
