"""Keeps a database of this version for later ones: ``python -m tests.controller.store.databases.make FOLDER``.

Run it when a migration is added, in the tree as it is then: it writes ``NUMBER.sql``, all that SQLite says of a
database whose tables the migrations of now made, with rows in each of them that the store of now wrote.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert

from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import MemoryModel, Profile
from motorpool_controller.store import database, schema
from motorpool_controller.store.codec import encode
from motorpool_controller.store.requests import once
from motorpool_controller.store.store import Store
from motorpool_controller.store.tokens import StoredToken
from motorpool_controller.store.transaction import Transaction
from tests.controller.rows import NOW, deployment, instance, node


def fill(tx: Transaction) -> None:
    tx.profiles.put("digest", Profile(backend="b", versions=(), memory_model=MemoryModel.FIXED, rules="fixed"))
    tx.nodes.put(replace(node("a", address="10.0.0.1"), profiles={"b": "digest"}, operator_labels={"row": "7 ü"}))
    tx.deployments.put(deployment("d"))
    tx.instances.put(instance("d-1", memory_bytes=1 << 40, device_bytes=20))
    tx.instances.put(instance("d-2"))
    tx.event(Severity.WARNING, "X", "nodes/a", "it's told")
    if hasattr(tx, "peaks"):
        from tests.controller.store.test_store import PEAK

        tx.peaks.put(PEAK)
    if hasattr(tx, "backends"):
        from tests.controller.declared import backend, version

        tx.backends.put(backend(versions=(version(env={"A": "1"}),)))
    once(tx, request_id="id-1", method="Create", request=b"\0\xff", change=lambda _: b"\xffanswer\0")


def enroll(tx: Transaction) -> None:
    tx.use_token("join", tx.nodes.put(node("b")).uid)
    tx.instances.delete("instances/d-2")


async def write(path: Path) -> None:
    engine = database.make_database(path)
    database.initialise(engine, "cluster-1")
    engine.dispose()
    async with await Store.open(path, clock=lambda: NOW) as store:
        store.tokens.add(
            StoredToken(
                token_id="join",
                role="join",
                secret_hash=bytes(range(32)),
                description="for b",
                create_time=NOW,
                expire_time=NOW,
                uses_left=2,
            )
        )
        if hasattr(schema, "controllers"):
            from tests.controller.rows import ME

            # SQLite has one controller, which is in no row; a database restored from PostgreSQL has.
            with store.tokens._engine.begin() as connection:
                row = {"name": ME.name, "revision": 0, "controller_epoch": 1, "body": encode(ME)}
                connection.execute(insert(schema.controllers).values(**row))
        await store.commit(fill)
        await store.commit(enroll, alone=True)


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "controller.db"
        asyncio.run(write(path))
        with closing(sqlite3.connect(path)) as connection:
            (number,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            lines = list(connection.iterdump())
    (folder / f"{number}.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(folder / f"{number}.sql")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
