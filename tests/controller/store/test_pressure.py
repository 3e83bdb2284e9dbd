"""More is asked of the store than it can do: who waits, who is sent away, and who is served all the same."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from motorpool_controller.store import beside as beside_module
from motorpool_controller.store.errors import StoreBusyError
from motorpool_controller.store.store import CALLERS_WAITING, Store
from motorpool_controller.store.transaction import Transaction
from tests.controller.clusters import until
from tests.controller.rows import node, putting


async def test_calls_over_the_bound_are_sent_away(store: Store) -> None:
    """
    So many changes of callers wait, and no more; those that agents and the loop ask for are taken beside them.
    """
    callers = [store.commit(putting(node(f"c{number}")), caller=True) for number in range(CALLERS_WAITING + 7)]
    own = [store.commit(putting(node(f"o{number}"))) for number in range(9)]
    answers = await asyncio.gather(*callers, *own, return_exceptions=True)
    refused = [number for number, answer in enumerate(answers) if isinstance(answer, StoreBusyError)]

    assert list(range(CALLERS_WAITING, CALLERS_WAITING + 7)) == refused
    assert CALLERS_WAITING + 9 == len(store.view.nodes)
    await store.commit(putting(node("later")), caller=True)


async def test_callers_starve_nobody(store: Store) -> None:
    """
    What agents report is written within a few transactions, though every waiting call wants one of its own.
    """
    done: list[str] = []

    async def commit(name: str, *, alone: bool, caller: bool) -> None:
        await store.commit(putting(node(name)), alone=alone, caller=caller)
        done.append(name)

    callers = [commit(f"c{number}", alone=True, caller=True) for number in range(60)]
    await asyncio.gather(*callers, commit("own", alone=False, caller=False))

    assert done.index("own") <= 2
    assert 61 == len(done)


async def test_nobody_starves_callers(store: Store) -> None:
    """
    A call that wants a transaction of its own gets it, though agents report without pause.
    """
    enrolled = asyncio.Event()

    async def report(worker: int) -> int:
        number = 0
        while not enrolled.is_set():
            await store.commit(putting(node(f"w{worker}-{number}")))
            number += 1
        return number

    async def enroll() -> None:
        await store.commit(putting(node("new")), alone=True, caller=True)
        enrolled.set()

    async with asyncio.timeout(30):
        reports = await asyncio.gather(*(report(worker) for worker in range(4)), enroll())

    assert max(number for number in reports if number is not None) <= 4


async def test_change_that_awaits_is_refused(store: Store) -> None:
    """
    A change is a plain function: what could wait for the network inside a transaction is a programming error.
    """

    async def change(tx: Transaction) -> None:
        tx.nodes.put(node("a"))

    with pytest.raises(TypeError, match="nothing is awaited inside a transaction"):
        await store.commit(change)  # type: ignore[unused-coroutine]  # what it is about
    assert {} == store.view.nodes


async def test_database_that_does_not_answer_keeps_few_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Reads that take too long, and those that would wait behind too many others, are sent away; the event loop goes on,
    and once the database answers again all is as before.
    """
    monkeypatch.setattr(beside_module, "SECONDS", 0.2)
    monkeypatch.setattr(beside_module, "MOST_WAITING", 20)
    answering = threading.Event()
    answers = await asyncio.gather(
        *(store.beside(partial(answering.wait, 60)) for _ in range(25)), return_exceptions=True
    )
    told = sorted({str(answer) for answer in answers})
    await store.commit(putting(node("a")))
    answering.set()

    assert all(isinstance(answer, StoreBusyError) for answer in answers)
    assert [
        "20 calls wait for the database already; make the same call again",
        "the database did not answer within 0.2 s; make the same call again",
    ] == told
    await until(lambda: not store._beside._waiting)
    monkeypatch.setattr(beside_module, "SECONDS", 30.0)
    assert await store.beside(store.tokens.list) == []
