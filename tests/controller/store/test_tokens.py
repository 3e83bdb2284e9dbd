import asyncio

import pytest

from motorpool_controller.domain.errors import NotFoundError, UnauthenticatedError
from motorpool_controller.store.database import Where, open_database
from motorpool_controller.store.store import Store
from motorpool_controller.store.tokens import StoredToken, TokenTable
from motorpool_controller.store.transaction import Transaction
from tests.controller.rows import NOW, node
from tests.controller.store.sql import sql


def join(token_id: str, uses_left: int | None) -> StoredToken:
    return StoredToken(
        token_id=token_id, role="join", secret_hash=b"x" * 32, description="", create_time=NOW, uses_left=uses_left
    )


def enroll(token_id: str, name: str) -> object:
    def change(tx: Transaction) -> None:
        row = tx.nodes.put(node(name))
        tx.use_token(token_id, row.uid)

    return change


async def test_token_made_beside_the_controller_is_found(store: Store, database: Where) -> None:
    """
    What a command writes into the database next to a running store, the store finds, and the other way round.
    """
    engine = open_database(database, migrate=False)
    beside = TokenTable(engine)
    beside.add(join("t1", 1))

    assert join("t1", 1) == store.tokens.get("t1")
    store.tokens.delete("t1")
    assert [] == beside.list()
    assert beside.get("t1") is None
    engine.dispose()


async def test_use_is_counted_with_the_node_it_made(store: Store) -> None:
    """
    A token for two machines makes two nodes; the third change fails as a whole and makes no node.
    """
    store.tokens.add(join("t1", 2))

    results = await asyncio.gather(
        *(store.commit(enroll("t1", name), alone=True) for name in "abc"),  # type: ignore[arg-type]  # a change
        return_exceptions=True,
    )

    assert [None, None] == results[:2]
    assert isinstance(results[2], UnauthenticatedError)
    assert results[2].reason == "TOKEN_USED_UP"
    assert ["nodes/a", "nodes/b"] == list(store.view.nodes)
    assert store.tokens.get("t1") == join("t1", 0)
    assert [True, False] == [store.tokens.was_used_for("t1", uid) for uid in ("uid-a", "uid-c")]


async def test_token_for_any_number_is_never_used_up(store: Store) -> None:
    """
    A token without a number of uses makes as many nodes as come.
    """
    store.tokens.add(join("t1", None))
    for name in "abcde":
        await store.commit(enroll("t1", name), alone=True)  # type: ignore[arg-type]  # a change

    assert len(store.view.nodes) == 5
    assert store.tokens.get("t1") == join("t1", None)


async def test_token_revoked_in_between_makes_no_node(store: Store) -> None:
    """
    A token revoked between the call's admission and its commit counts as revoked.
    """
    with pytest.raises(UnauthenticatedError) as caught:
        await store.commit(enroll("t1", "a"), alone=True)  # type: ignore[arg-type]  # a change

    assert caught.value.reason == "TOKEN_INVALID"
    assert {} == store.view.nodes


async def test_use_in_a_shared_transaction_is_refused(store: Store) -> None:
    """
    Using a token in a change that others share a transaction with is a programming error: it would fail them too.
    """
    with pytest.raises(RuntimeError, match="alone=True"):
        await store.commit(enroll("t1", "a"))  # type: ignore[arg-type]  # a change


async def test_revoking_twice_says_so(store: Store) -> None:
    """
    Revoking a token that is not there names it and how to see those that are.
    """
    with pytest.raises(NotFoundError, match="tokens/t1 does not exist"):
        store.tokens.delete("t1")


async def test_every_row_tells_who_wrote_it(store: Store, database: Where) -> None:
    """
    Rows carry the revision and the epoch of the controller that wrote them.
    """
    store.tokens.add(join("t1", 1))
    await store.commit(enroll("t1", "a"), alone=True)  # type: ignore[arg-type]  # a change
    tables = ("nodes", "changes", "tokens", "token_uses", "meta")

    assert [[(1, 1)]] * 5 == [sql(database, f"SELECT revision, controller_epoch FROM {table}") for table in tables]
