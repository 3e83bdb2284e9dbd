import asyncio

from motorpool_controller.store.bell import Bell

LONG_SECONDS = 3_600.0


async def test_ring_wakes_who_waits() -> None:
    """
    Who waits returns once the bell is rung, however long it would have waited.
    """
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(LONG_SECONDS))
    await asyncio.sleep(0)

    bell.set()
    bell.set()

    await waiting


async def test_earlier_ring_counts() -> None:
    """
    A bell that was rung before lets pass whoever comes, until it is cleared.
    """
    bell = Bell()
    bell.set()

    await bell.wait(LONG_SECONDS)
    assert bell.is_set()

    bell.clear()
    assert not bell.is_set()


async def test_bell_rings_when_the_time_is_over() -> None:
    """
    It rings by itself for who has waited for its time, also where that was over before.
    """
    bell = Bell()

    await bell.wait(0.001)
    assert bell.is_set()

    bell.clear()
    await bell.wait(-1.0)
    assert bell.is_set()


async def test_who_gives_up_is_forgotten() -> None:
    """
    A wait that is cut short leaves a bell that can be rung, and waited for again.
    """
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(LONG_SECONDS))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])

    assert not bell.is_set()
    bell.set()

    await bell.wait(LONG_SECONDS)
