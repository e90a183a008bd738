"""Feeds: tasks that fetch, read with `async for`."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from smartmob_agent.client.errors import ClientError
from smartmob_agent.client.feed import Feed

Send = trio.MemorySendChannel[int]


async def count(send: Send) -> None:
    for number in range(3):
        await send.send(number)


async def fail(send: Send) -> None:
    await send.send(0)
    raise ClientError("no more")


async def test_all_items_come_and_then_the_end() -> None:
    async with trio.open_nursery() as nursery:
        feed = Feed(nursery, count)
        assert [number async for number in feed] == [0, 1, 2]
        with pytest.raises(trio.EndOfChannel):
            await feed.receive()


async def test_the_reader_gets_the_error_once() -> None:
    """It does not end the other tasks of the client."""
    async with trio.open_nursery() as nursery:
        feed = Feed(nursery, fail)
        assert await feed.receive() == 0
        with pytest.raises(ClientError, match="no more"):
            await feed.receive()
        with pytest.raises(trio.EndOfChannel):
            await feed.receive()


async def test_nothing_begins_before_it_is_asked_for() -> None:
    begun = []

    async def begin(send: Send) -> None:
        begun.append(send)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        feed = Feed(nursery, begin)
        await trio.testing.wait_all_tasks_blocked()
        assert begun == []
        async with feed:
            await trio.testing.wait_all_tasks_blocked()
            assert len(begun) == 1


async def test_a_feed_that_is_left_ends_its_task() -> None:
    async with trio.open_nursery() as nursery:
        async with Feed(nursery, count) as feed:
            assert await feed.receive() == 0
        assert not nursery.child_tasks
        with pytest.raises(trio.EndOfChannel):
            await feed.receive()


async def test_one_that_never_began_can_be_closed() -> None:
    async with trio.open_nursery() as nursery:
        feed = Feed(nursery, count)
        await feed.aclose()
        assert [number async for number in feed] == []
        assert not nursery.child_tasks


async def test_a_reader_that_is_cancelled_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def late(send: Send) -> None:
        await trio.sleep(2)
        await send.send(1)

    async with trio.open_nursery() as nursery:
        feed = Feed(nursery, late)
        with trio.move_on_after(1):
            await feed.receive()
        assert (await feed.receive(), trio.current_time()) == (1, 2.0)
