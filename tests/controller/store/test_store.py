import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from motorpool_controller.domain.errors import NotFoundError
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import MemoryModel, Option, Profile
from motorpool_controller.domain.peak import Kind, Peak
from motorpool_controller.store.database import Where
from motorpool_controller.store.errors import FencedError, StoreError
from motorpool_controller.store.store import Store
from motorpool_controller.store.transaction import Transaction
from tests.controller.declared import backend, version
from tests.controller.rows import NOW, deployment, instance, node, putting
from tests.controller.store.sql import sql

PEAK = Peak(
    kind=Kind(
        model_digest="sha256:0",
        backend="b",
        backend_version="1",
        framework="cpu",
        context_length=1,
        parallel=None,
        layers=None,
        parameters=('["x"]',),
    ),
    time=NOW,
    memory_bytes=7,
)


async def test_change_is_in_the_view_once_it_is_committed(store: Store) -> None:
    """
    What a change returned and what the view shows is the row as it is stored, with its revision.
    """
    stored = await store.commit(lambda tx: tx.nodes.put(node("a")))

    assert replace(node("a"), revision=1) == stored
    assert {"nodes/a": stored} == store.view.nodes
    assert store.view.revision == 1


async def test_a_higher_peak_replaces_one_of_its_kind(store: Store) -> None:
    """
    There is one peak of a kind, and the same again writes nothing.
    """
    higher = replace(PEAK, memory_bytes=9)
    await store.commit(lambda tx: tx.peaks.put(PEAK))
    await store.commit(lambda tx: tx.peaks.put(higher))
    revision = store.view.revision
    await store.commit(lambda tx: tx.peaks.put(higher))

    assert {PEAK.kind.name: higher} == store.view.peaks
    assert revision == store.view.revision


async def test_everything_comes_back_after_reopening(database: Where) -> None:
    """
    A reopened store shows what the closed one showed, under the next epoch.
    """
    profile = Profile(backend="b", versions=(), memory_model=MemoryModel.FIXED, rules="fixed")

    def change(tx: Transaction) -> None:
        tx.profiles.put("digest", profile)
        tx.peaks.put(PEAK)
        tx.nodes.put(replace(node("a"), profiles={"b": "digest"}))
        tx.deployments.put(deployment("d"))
        tx.instances.put(instance("d-1", memory_bytes=10, device_bytes=20))
        tx.backends.put(backend(versions=(version(env={"A": "1"}),), options=(Option(name="port"),)))
        tx.event(Severity.INFO, "X", "nodes/a", "first")
        tx.event(Severity.WARNING, "Y", "nodes/a", "second")

    async with await Store.open(database) as store:
        await store.commit(change)
        await store.commit(lambda tx: tx.event(Severity.INFO, "Z", "nodes/a", "third"))
        before = _all(store)
        epoch = store.view.controller_epoch
    async with await Store.open(database) as again:
        after = _all(again)

        assert before == after
        assert again.view.controller_epoch == epoch + 1


async def test_profile_that_no_node_has_any_more_goes(store: Store, database: Where) -> None:
    """
    A profile is kept once for all nodes that have it, and goes with the last one: upgraded, or deleted; also out of the
    database of a version that kept them all.
    """
    profile = Profile(backend="b", versions=(), memory_model=MemoryModel.FIXED, rules="fixed")

    def join(tx: Transaction) -> None:
        tx.profiles.put("old", profile)
        for name in "ab":
            tx.nodes.put(replace(node(name), profiles={"b": "old"}))

    def upgrade(name: str) -> Callable[[Transaction], None]:
        def change(tx: Transaction) -> None:
            tx.profiles.put("new", profile)
            tx.nodes.put(replace(tx.nodes[f"nodes/{name}"], profiles={"b": "new"}))

        return change

    def kept() -> set[str]:
        assert set(store.view.profiles) == {name for (name,) in sql(database, "SELECT name FROM profiles")}
        return set(store.view.profiles)

    await store.commit(join)
    assert {"old"} == kept()
    await store.commit(upgrade("a"))
    assert {"old", "new"} == kept()
    await store.commit(lambda tx: tx.nodes.put(replace(tx.nodes["nodes/a"], address="elsewhere")))
    assert {"old", "new"} == kept()
    await store.commit(upgrade("b"))
    assert {"new"} == kept()
    await asyncio.gather(*(store.commit(lambda tx, name=name: tx.nodes.delete(f"nodes/{name}")) for name in "ab"))  # type: ignore[misc]
    assert set() == kept()


async def test_profiles_of_earlier_versions_are_cleared_at_the_start(database: Where) -> None:
    """
    What was kept although no node had it is gone once this version has started.
    """
    sql(
        database,
        "INSERT INTO profiles (name, revision, controller_epoch, body) VALUES "
        '(\'orphan\', 1, 1, \'{"backend":"b","versions":[],"memory_model":"fixed","rules":"fixed"}\')',
    )
    async with await Store.open(database) as store:
        assert {} == store.view.profiles

    assert [(0,)] == sql(database, "SELECT count(*) FROM profiles")


def _all(store: Store) -> tuple[Any, ...]:
    view = store.view
    return (
        view.cluster_id,
        dict(view.peaks),
        view.revision,
        dict(view.nodes),
        dict(view.deployments),
        dict(view.instances),
        dict(view.profiles),
        dict(view.backends),
        list(view.events.values()),
        sorted(map(str, view.changes_after(0))),
        dict(view.latest_events),
    )


async def test_failed_change_leaves_nothing(store: Store) -> None:
    """
    What a change raises reaches its caller, nothing of it is written, and changes beside it are.
    """

    def broken(tx: Transaction) -> None:
        tx.nodes.put(node("broken"))
        raise NotFoundError("NOT_FOUND", "no such thing")

    results = await asyncio.gather(
        store.commit(lambda tx: tx.nodes.put(node("a"))),
        store.commit(broken),
        store.commit(lambda tx: tx.nodes.put(node("b"))),
        return_exceptions=True,
    )

    assert isinstance(results[1], NotFoundError)
    assert ["nodes/a", "nodes/b"] == list(store.view.nodes)


async def test_change_sees_earlier_ones_of_its_batch(store: Store) -> None:
    """
    Of two changes handed in together the second sees what the first did, and each has its revision.
    """
    first, second = await asyncio.gather(
        store.commit(lambda tx: tx.nodes.put(node("a"))),
        store.commit(lambda tx: tx.nodes.put(replace(tx.nodes["nodes/a"], address="10.0.0.1"))),
    )

    assert (1, 2) == (first.revision, second.revision)
    assert store.view.nodes["nodes/a"].address == "10.0.0.1"


async def test_many_changes_are_one_transaction(store: Store) -> None:
    """
    Changes that wait together are committed together: one SQL transaction, a revision each.
    """
    commits = _count(store, "commit")

    await asyncio.gather(*(store.commit(putting(node(f"n{i}"))) for i in range(100)))

    assert len(commits) == 1
    assert store.view.revision == 100


@pytest.mark.promise("P7")
async def test_change_of_nothing_writes_nothing(store: Store) -> None:
    """
    A change that leaves everything as it was costs no SQL at all and no revision.
    """
    await store.commit(lambda tx: tx.nodes.put(node("a")))
    statements = _count(store, "before_cursor_execute")
    commits = _count(store, "commit")

    def same(tx: Transaction) -> None:
        tx.nodes.put(node("a"))
        tx.nodes.put(node("a", address="elsewhere"))
        tx.nodes.put(node("a"))
        tx.instances.delete("instances/never-was")
        tx.nodes.put(node("b"))
        tx.nodes.delete("nodes/b")

    await store.commit(same)
    await store.commit(lambda tx: len(tx.nodes))

    assert ([], []) == (statements, commits)
    assert store.view.revision == 1


def _count(store: Store, name: str) -> list[object]:
    happened: list[object] = []
    event.listen(store._engine, name, lambda *arguments: happened.append(arguments[:3]))
    return happened


async def test_iterating_while_changing_is_safe(store: Store) -> None:
    """
    A change may put and delete rows of the mapping that it is iterating over.
    """
    await store.commit(lambda tx: [tx.nodes.put(node(name)) for name in "abc"])

    def change(tx: Transaction) -> None:
        for row in tx.nodes.values():
            tx.nodes.put(replace(row, address="x"))
            tx.nodes.put(node(row.name[-1] * 2))
        for name in tx.nodes:
            if len(name) > len("nodes/a"):
                tx.nodes.delete(name)

    await store.commit(change)

    assert ["x", "x", "x"] == [row.address for row in store.view.nodes.values()]


async def test_rows_count_and_find_what_they_show(store: Store) -> None:
    """
    Inside a change, length, membership and iteration agree about rows committed, put and deleted.
    """
    await store.commit(lambda tx: [tx.nodes.put(node(name)) for name in "abc"])

    def look(tx: Transaction) -> tuple[int, list[str], bool, bool]:
        tx.nodes.delete("nodes/b")
        tx.nodes.put(node("d"))
        return len(tx.nodes), list(tx.nodes), "nodes/b" in tx.nodes, "nodes/d" in tx.nodes

    assert (3, ["nodes/a", "nodes/c", "nodes/d"], False, True) == await store.commit(look)


async def test_name_is_free_again_after_deletion(store: Store) -> None:
    """
    A row may be deleted and another put under its name, in one change or in two.
    """
    await store.commit(lambda tx: tx.nodes.put(node("a")))

    def replaced(tx: Transaction) -> None:
        tx.nodes.delete("nodes/a")
        tx.nodes.put(replace(node("a"), uid="other"))

    await store.commit(replaced)
    await store.commit(lambda tx: tx.nodes.delete("nodes/a"))
    again = await store.commit(lambda tx: tx.nodes.put(node("a")))

    assert again.revision == 4


@pytest.mark.promise("P2")
async def test_claims_follow_placements(store: Store, database: Where) -> None:
    """
    The claims table holds what the placements hold: after placing, changing and deleting.
    """

    async def claims_after(*rows: Any, deleted: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        def change(tx: Transaction) -> None:
            for row in rows:
                tx.instances.put(row)
            for name in deleted:
                tx.instances.delete(name)

        await store.commit(change)
        return sql(database, "SELECT instance, node, device, memory_bytes FROM claims ORDER BY 1, 2, 3")

    placed = await claims_after(instance("x", memory_bytes=10, device_bytes=20), instance("pending"))
    changed = await claims_after(instance("x", memory_bytes=11))
    deleted = await claims_after(deleted=("instances/x",))

    assert [("instances/x", "nodes/a", "", 10), ("instances/x", "nodes/a", "gpu-0", 20)] == placed
    assert [("instances/x", "nodes/a", "", 11)] == changed
    assert [] == deleted


async def test_second_controller_fences_the_first(file: Path) -> None:
    """
    Once another store has the database open, the first one's next change fails, is not in its view, and it is told.
    """
    first = await Store.open(file)
    async with await Store.open(file) as second:
        with pytest.raises(FencedError, match="another motorpool-controller opened"):
            await first.commit(lambda tx: tx.nodes.put(node("late")))
        await asyncio.wait_for(first.wait_fenced(), timeout=10)

        assert {} == first.view.nodes
        await second.commit(lambda tx: tx.nodes.put(node("a")))
        await first.close()
        assert ["nodes/a"] == list(second.view.nodes)


async def test_closed_store_takes_nothing(database: Where) -> None:
    """
    Changes handed in before the end are written; those after it are refused.
    """
    store = await Store.open(database)
    waiting = asyncio.ensure_future(store.commit(lambda tx: tx.nodes.put(node("a"))))
    await asyncio.sleep(0)
    await store.close()

    assert (await waiting).revision == 1
    with pytest.raises(StoreError, match="is stopping"):
        await store.commit(lambda tx: None)


async def test_database_that_cannot_be_written_is_said_to_be(store: Store, database: Where) -> None:
    """
    When the database refuses a write, the caller learns which and why, the view stays, and the next write works.
    """
    if isinstance(database, Path):
        name, mended = r"controller-0\.db", "DROP TRIGGER broken"
        full = "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        sql(database, f"CREATE TRIGGER broken BEFORE INSERT ON nodes {full}")
    else:
        name, mended = r"127\.0\.0\.1:\d+/test\d+", "DROP FUNCTION broken CASCADE"
        sql(
            database,
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'disk is full'; END$$",
            "CREATE TRIGGER broken BEFORE INSERT ON nodes FOR EACH ROW EXECUTE FUNCTION broken()",
        )
    with pytest.raises(StoreError, match=rf"{name} cannot be written: disk is full"):
        await store.commit(lambda tx: tx.nodes.put(node("a")))
    sql(database, mended)

    assert {} == store.view.nodes
    assert (await store.commit(lambda tx: tx.nodes.put(node("a")))).revision == 1
