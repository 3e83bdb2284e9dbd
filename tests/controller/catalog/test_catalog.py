import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

from motorpool_controller.catalog import catalog as cataloguing
from motorpool_controller.domain.errors import DomainError
from motorpool_controller.domain.workload import ModelSource, SourceKind
from tests.controller.catalog.asking import Asker
from tests.hub.server import LocalHub
from tests.models.tiny_gguf import make_tiny_gguf

SOURCE = ModelSource(kind=SourceKind.HUGGING_FACE, repository="o/n")


@pytest.fixture(autouse=True, name="tiny")
def _tiny(tmp_path: Path, hub: LocalHub) -> Path:
    path = make_tiny_gguf(tmp_path / "tiny.gguf")
    hub.add("o/n", {"tiny.gguf": path})
    return path


async def test_same_commit_is_read_once(asker: Asker, hub: LocalHub) -> None:
    """
    What is known of a commit is not fetched again: a branch costs one request, a commit none.
    """
    catalog = asker.catalog()
    first = await catalog.look_up(SOURCE).result()
    hub.seen.clear()

    again = await catalog.look_up(SOURCE).result()
    assert (first.facts, ["GET /api/models/o/n"]) == (again.facts, hub.paths())

    hub.seen.clear()
    pinned = ModelSource(kind=SourceKind.HUGGING_FACE, repository="o/n", revision=first.commit)
    assert first.facts == (await asker.catalog().look_up(pinned).result()).facts
    assert [] == hub.seen


async def test_branch_that_moved_on_is_read_again(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    A branch with a new commit is another model.
    """
    catalog = asker.catalog()
    before = await catalog.look_up(SOURCE).result()
    hub.add("o/n", {"tiny.gguf": make_tiny_gguf(tmp_path / "wider.gguf", width=128)})

    after = await catalog.look_up(SOURCE).result()

    assert before.commit != after.commit
    assert (64, 128) == (before.facts.hidden_size, after.facts.hidden_size)


async def test_many_who_ask_for_the_same_share_a_look_up(asker: Asker, hub: LocalHub) -> None:
    """
    Ten callers make the requests of one, and one who leaves takes nothing from the others.
    """
    go = threading.Event()
    hub.trouble("GET /api", until=go)
    catalog = asker.catalog()
    waiting = [asyncio.create_task(catalog.look_up(SOURCE).result()) for _ in range(10)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    go.set()

    known = await asyncio.gather(*waiting)

    assert {"tiny-random-llama"} == {each.facts.name for each in known}
    assert 2 == len(hub.seen)


async def test_few_at_once(asker: Asker, hub: LocalHub) -> None:
    """
    No more models are read at the same time than were allowed; the others take their turn.
    """
    go = threading.Event()
    for number in range(6):
        hub.add(f"o/{number}", {"tiny.gguf": make_tiny_gguf(asker.directory.parent / "t.gguf")})  # type: ignore[union-attr]
    hub.trouble("GET /api", until=go, times=-1)
    catalog = asker.catalog(at_once=2)
    going = [
        catalog.look_up(ModelSource(kind=SourceKind.HUGGING_FACE, repository=f"o/{number}")) for number in range(6)
    ]
    async with asyncio.timeout(20):
        while len(hub.seen) < 2:
            await going[-1].wait(0.01)
    assert 2 == len(hub.seen)

    go.set()
    known = await asyncio.gather(*(each.result() for each in going))
    assert 6 == len(known)


async def test_too_many_are_refused(asker: Asker, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When too many wait already, another is told to try again.
    """
    monkeypatch.setattr(cataloguing, "MOST_WAITING", 1)
    go = threading.Event()
    hub.trouble("GET /api", until=go)
    catalog = asker.catalog()
    first = catalog.look_up(SOURCE)

    with pytest.raises(DomainError) as caught:
        catalog.look_up(ModelSource(kind=SourceKind.HUGGING_FACE, repository="o/other"))

    assert "BUSY" == caught.value.reason
    go.set()
    await first.result()


async def test_time_out_is_not_remembered(asker: Asker, hub: LocalHub) -> None:
    """
    A look-up that ran out of time is an error that says to try again, and the next one does.
    """
    go = threading.Event()
    hub.trouble("GET /api", until=go)
    catalog = asker.catalog(seconds=0.2)

    with pytest.raises(DomainError) as caught:
        await catalog.look_up(SOURCE).result()
    go.set()

    assert "HUB_TIMEOUT" == caught.value.reason
    assert "tiny-random-llama" == (await catalog.look_up(SOURCE).result()).facts.name


async def test_progress_can_be_watched(asker: Asker, hub: LocalHub) -> None:
    """
    While a model is being read one can see what that has cost, and which file it is at.
    """
    go = threading.Event()
    hub.trouble("GET /o/n/resolve/", until=go)
    look_up = asker.catalog().look_up(SOURCE)

    async with asyncio.timeout(20):
        while look_up.spent.requests < 2:
            await look_up.wait(0.01)
    assert ("tiny.gguf", False) == (look_up.spent.file, look_up.done)

    go.set()
    known = await look_up.result()
    assert known.spent == look_up.spent


async def test_closing_ends_what_is_on_its_way(asker: Asker, hub: LocalHub) -> None:
    """
    A catalog that closes does not wait for a hub that hangs.
    """
    go = threading.Event()
    hub.trouble("GET /api", until=go)
    catalog = asker.catalog()
    look_up = catalog.look_up(SOURCE)
    async with asyncio.timeout(20):
        while not hub.seen:
            await look_up.wait(0.01)
        await catalog.close()

    with contextlib.suppress(asyncio.CancelledError):
        await look_up.result()
    assert look_up.done
    go.set()
