"""Commits instances until it is killed, and prints what was acknowledged: the child of test_kill.py."""

import asyncio
import random
import sys

from motorpool_controller.store.database import Where
from motorpool_controller.store.store import Store
from tests.controller.rows import deleting, instance, putting
from tests.controller.store.sql import of_text


async def worker(store: Store, prefix: str, chance: random.Random) -> None:
    number = 0
    while True:
        name = f"{prefix}-{number}"
        memory_bytes = chance.randrange(1, 1_000)
        row = instance(name, memory_bytes=memory_bytes, device_bytes=chance.choice((0, 5)))
        await store.commit(putting(row))
        print("put", row.name, memory_bytes, flush=True)
        if number % 3 == 2:
            gone = f"instances/{prefix}-{number - 1}"
            print("deleting", gone, flush=True)
            await store.commit(deleting(gone))
            print("deleted", gone, flush=True)
        number += 1


async def main(database: Where, prefix: str, seed: int) -> None:
    store = await Store.open(database)
    chance = random.Random(seed)
    await asyncio.gather(*(worker(store, f"{prefix}-{number}", chance) for number in range(8)))


if __name__ == "__main__":
    asyncio.run(main(of_text(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
