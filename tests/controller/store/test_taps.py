import asyncio

from motorpool_controller.store.taps import BATCHES_KEPT, LogBatch, LogRequest, LogTap


def tap() -> LogTap:
    return LogTap(
        "nodes/a",
        LogRequest(subscription_id="s", assignment_id="x", tail_lines=1, follow=True, timeout_seconds=1),
    )


async def test_lines_come_in_order_then_the_end() -> None:
    """
    What was pushed is read in order, also after the end was said.
    """
    made = tap()
    await made.push(["one", "two"])
    await made.push(["three"], "1/x/9")
    made.end("broken")

    assert [LogBatch(("one", "two")), LogBatch(("three",), "1/x/9"), None] == [await made.read() for _ in range(3)]
    assert "broken" == made.error


async def test_slow_reader_makes_the_agent_wait() -> None:
    """
    Only so many batches are kept; a push beyond waits until one was read.
    """
    made = tap()
    for number in range(BATCHES_KEPT):
        await made.push([str(number)])
    pushing = asyncio.create_task(made.push(["last"]))
    await asyncio.sleep(0)
    assert not pushing.done()

    await made.read()
    async with asyncio.timeout(5):
        await pushing


async def test_leaving_reader_frees_the_agent() -> None:
    """
    A push that waits ends when the reader leaves.
    """
    made = tap()
    for number in range(BATCHES_KEPT):
        await made.push([str(number)])
    pushing = asyncio.create_task(made.push(["last"]))
    await asyncio.sleep(0)

    made.leave()

    async with asyncio.timeout(5):
        await pushing


async def test_the_first_end_counts() -> None:
    """
    An end in order is not turned into a fault by what comes after it.
    """
    made = tap()
    made.end()
    made.end("broke off")

    assert "" == made.error
