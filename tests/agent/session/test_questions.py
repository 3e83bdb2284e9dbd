"""Questions: each answered once, none holding up another."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from motorpool_agent.reconcile.assignment import ReadModel
from motorpool_agent.session import questions as module
from motorpool_agent.session.questions import Questions
from motorpool_formats import FormatError, ModelCorruptError, ModelFacts


def ask(query_id: str) -> ReadModel:
    return ReadModel(query_id=query_id, deadline=datetime.now(UTC) - timedelta(days=1), local_path=f"/{query_id}")


async def test_a_read_that_hangs_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A dead file server costs its own question, which is answered with why; others go on.
    """
    monkeypatch.setattr(module, "_WAIT_SECONDS", (0.2, 0.2))
    release = threading.Event()
    answered = asyncio.Event()

    def read(path: Path) -> ModelFacts:
        if path.name == "dead":
            release.wait(20)
        raise ModelCorruptError(str(path), "what", "todo")

    asked = Questions(read=read, notify=answered.set)
    asked.update({"dead": ask("dead"), "fine": ask("fine")})
    async with asyncio.timeout(20):
        while len(asked.answers()) < 2:
            answered.clear()
            await answered.wait()
    release.set()
    await asked.close()

    reasons = {query_id: answer.error_reason for query_id, answer in asked.answers().items()}
    assert reasons == {"dead": "MODEL_UNREADABLE", "fine": "MODEL_CORRUPT"}
    assert "/dead was not read within" in asked.answers()["dead"].error_message


async def test_a_deadline_of_another_clock_leaves_time(tmp_path: Path) -> None:
    """
    A deadline that has passed by our clock is still answered.
    """
    answered = asyncio.Event()

    def read(path: Path) -> ModelFacts:
        raise ModelCorruptError(str(path), "what", "todo")

    asked = Questions(read=read, notify=answered.set)
    asked.update({"q": ask("q")})
    await asyncio.wait_for(answered.wait(), 20)

    assert asked.answers()["q"].error_reason == ModelCorruptError.reason
    assert issubclass(ModelCorruptError, FormatError)


async def test_a_withdrawn_question_is_forgotten() -> None:
    """
    Its answer goes with it, and an unfinished one is never shown.
    """
    release = threading.Event()

    def read(path: Path) -> ModelFacts:
        release.wait(20)
        raise ModelCorruptError(str(path), "what", "todo")

    asked = Questions(read=read, notify=lambda: None)
    asked.update({"q": ask("q")})
    asked.update({})
    release.set()
    await asked.close()

    assert asked.answers() == {}
