import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from sqlalchemy import select

from motorpool_controller.store import schema
from motorpool_controller.store.database import Where, open_database
from motorpool_controller.store.store import Store
from motorpool_controller.store.writer import claims_of
from tests.controller.store.sql import as_text

ROOT = Path(__file__).parents[3]


@pytest.mark.promise("P8")
@pytest.mark.promise("P2")
async def test_kill_loses_nothing_acknowledged(database: Where) -> None:
    """
    Killed at any point, the store holds every acknowledged change after reopening, and claims are the placements'.
    """
    chance = random.Random(20260102)
    present: dict[str, int] = {}
    unsure: set[str] = set()
    gone: set[str] = set()
    for round_number in range(5):
        for line in _killed_after(database, f"r{round_number}", chance):
            match line.split():
                case ["put", name, memory_bytes]:
                    present[name] = int(memory_bytes)
                case ["deleting", name]:
                    present.pop(name)
                    unsure.add(name)
                case ["deleted", name]:
                    unsure.remove(name)
                    gone.add(name)
        async with await Store.open(database) as store:
            found = {
                name: row.placement.members[0].claim.memory_bytes
                for name, row in store.view.instances.items()
                if row.placement is not None
            }
            held = {
                (claim["instance"], claim["node"], claim["device"]): claim["memory_bytes"]
                for claim in claims_of(store.view.instances.values())
            }

        assert present.items() <= found.items()
        assert gone.isdisjoint(found)
        assert held == _claims(database)
    assert len(present) > 100


def _killed_after(database: Where, prefix: str, chance: random.Random) -> list[str]:
    """Return the lines of a child killed after some of them; the last one may be cut off, and then says nothing."""
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.controller.store.committing",
            as_text(database),
            prefix,
            str(chance.random())[2:],
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        lines = [line for _, line in zip(range(chance.randrange(30, 400)), child.stdout, strict=False)]
        child.kill()
        lines += child.stdout.readlines()
    return [line for line in lines if line.endswith("\n")]


def _claims(database: Where) -> dict[tuple[str, str, str], int]:
    engine = open_database(database)
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    with engine.connect() as connection:
        for row in connection.execute(select(schema.claims)):
            found[row.instance, row.node, row.device] = row.memory_bytes
    engine.dispose()
    return dict(found)
