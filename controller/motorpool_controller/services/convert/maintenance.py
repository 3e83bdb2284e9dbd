"""Cordons and drains as callers see them."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool import v1
from motorpool_controller.domain.fleet import Ban, Cordon, Drain
from motorpool_controller.reconcile.drains import Wait
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.placement import refusal_message

REASON_CHARACTERS = 500


def cordon_message(cordon: Cordon | None, waits: Sequence[Wait] = ()) -> v1.Cordon:
    """Return a cordon as a message, and what is waited for where its drain goes on; None is one of no known origin."""
    if cordon is None:
        return v1.Cordon()
    return v1.Cordon(
        reason=cordon.reason,
        actor=cordon.actor,
        create_time=fields.timestamp(cordon.time),
        drain=None if cordon.drain is None else drain_message(cordon.drain, waits),
    )


def ban_message(ban: Ban) -> v1.Ban:
    """Return a ban as a message."""
    return v1.Ban(reason=ban.reason, actor=ban.actor, create_time=fields.timestamp(ban.time))


def drain_message(drain: Drain, waits: Sequence[Wait] = ()) -> v1.Drain:
    """Return a drain as a message, and what is waited for."""
    return v1.Drain(
        reason=drain.reason,
        actor=drain.actor,
        create_time=fields.timestamp(drain.time),
        deadline_time=fields.timestamp(drain.deadline_time),
        state=v1.DRAIN_STATE_DRAINING if drain.complete_time is None else v1.DRAIN_STATE_DRAINED,
        complete_time=fields.timestamp(drain.complete_time),
        total_instances=drain.total,
        remaining_instances=len(waits),
        waits=[
            v1.DrainWait(
                instance=wait.instance.name,
                replacement="" if wait.replacement is None else wait.replacement.name,
                message=wait.message,
                refusals=[
                    refusal_message(row) for row in (() if wait.replacement is None else wait.replacement.refusals)
                ],
            )
            for wait in waits
        ],
    )


def reason_of(text: str) -> str:
    """Return an operator's words about what he does."""
    if len(text) > REASON_CHARACTERS:
        raise fields.invalid("reason", f"it has {len(text)} characters; at most {REASON_CHARACTERS} are allowed")
    if not text.isprintable():
        raise fields.invalid("reason", "it has characters that cannot be printed; give one line of text")
    return text.strip()
