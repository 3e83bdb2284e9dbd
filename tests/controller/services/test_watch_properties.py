"""A watch loses nothing and repeats nothing, wherever it begins, stops and goes on."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from motorpool import v1
from motorpool_controller.domain.event import Severity
from motorpool_controller.services.watch import WatchService
from motorpool_controller.store.database import initialise, make_database
from motorpool_controller.store.live import Live
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction
from tests.controller.rows import node

NAMES = ("a", "b", "c", "d")
COMMITS = st.tuples(
    st.just("commit"),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([True, True, False]), min_size=2),  # False deletes
)
STEPS = st.lists(
    st.one_of(
        COMMITS,
        COMMITS,
        st.tuples(st.just("elsewhere"), st.none()),
        st.tuples(st.just("read"), st.integers(1, 2)),
        st.tuples(st.just("resume"), st.integers(1, 3)),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("begin"), st.none()),
    ),
    min_size=4,
    max_size=16,
)
Context = grpc.aio.ServicerContext[v1.WatchRequest, v1.WatchResponse]
Place = tuple[int, str]
"""A revision, and a name within it."""


@dataclass
class Model:
    """What was committed: of each name its last change, and whether it is there."""

    revision: int = 0
    last: dict[str, Place] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    tokens: list[tuple[str, Place]] = field(default_factory=list)

    def after(self, place: Place) -> list[str]:
        """The names that changed after a place, in the order in which they did."""
        return sorted((name for name in self.last if self.last[name] > place), key=lambda name: self.last[name])


async def watching(store: Store, token: str = "") -> AsyncIterator[v1.WatchResponse]:
    service = WatchService(store, Live())
    request = v1.WatchRequest(kinds=["nodes"], resume_token=token)
    async for response in service.Watch(request, cast("Context", None)):
        yield response


async def read(watch: AsyncIterator[v1.WatchResponse]) -> v1.WatchResponse:
    async with asyncio.timeout(10):
        return await anext(watch)


async def begin(store: Store, model: Model) -> tuple[AsyncIterator[v1.WatchResponse], Place]:
    """Begin without a token: all there is comes, each once, then a token."""
    watch = watching(store)
    seen = [await read(watch) for _ in range(len(model.there) + 1)]

    assert {f"nodes/{name}" for name in model.there} == {each.node.name for each in seen[:-1]}
    assert seen[-1].WhichOneof("change") is None
    place = (model.revision, "~")
    model.tokens.append((seen[-1].resume_token, place))
    return watch, place


async def commit(store: Store, model: Model, changes: dict[str, bool]) -> None:
    effective = {name: put for name, put in changes.items() if put or name in model.there}
    if not effective:
        return

    def change(tx: Transaction) -> None:
        for name, put in effective.items():
            if put:
                tx.nodes.put(node(name, address=str(tx.revision)))
            else:
                tx.nodes.delete(f"nodes/{name}")

    await store.commit(change)
    model.revision = store.view.revision
    for name, put in effective.items():
        model.last[name] = (model.revision, name)
        (model.there.add if put else model.there.discard)(name)


async def play(path: Path, steps: list[tuple[str, object]]) -> None:
    store, model = await Store.open(path), Model()
    watch, place = await begin(store, model)
    for step, detail in [*steps, ("read", 99)]:
        match step:
            case "commit":
                await commit(store, model, cast("dict[str, bool]", detail))
            case "elsewhere":
                await store.commit(lambda tx: tx.event(Severity.INFO, "X", f"nodes/{tx.revision}", "x"))
                model.revision = store.view.revision
            case "read":
                for name in model.after(place)[: cast("int", detail)]:
                    found = await read(watch)
                    place = model.last[name]
                    model.tokens.append((found.resume_token, place))
                    if name in model.there:
                        assert (f"nodes/{name}", str(place[0])) == (found.node.name, found.node.address)
                    else:
                        assert f"nodes/{name}" == found.deleted
            case "resume":
                token, place = model.tokens[-min(cast("int", detail), len(model.tokens))]
                watch = watching(store, token)
            case "restart":
                await store.close()
                store = await Store.open(path)
                token, place = model.tokens[-1]
                watch = watching(store, token)
            case _:
                watch, place = await begin(store, model)
    await store.close()


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@example(steps=[("commit", {"a": True, "b": True}), ("read", 1), ("resume", 1)])
@given(steps=STEPS)
def test_every_change_comes_once_from_wherever_one_resumes(steps: list[tuple[str, object]]) -> None:
    """
    Through any commits, reads and restarts, a watch from any token it ever gave gives the last change of each object
    after it, in their order, each once.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "controller.db"
        engine = make_database(path)
        initialise(engine, "cluster-1")
        engine.dispose()
        asyncio.run(play(path, steps))
