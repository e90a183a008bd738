"""The queue between a connection and the application."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smartmob_agent.http.exchange import Inbox

LAST = {"type": "last"}


async def test_messages_come_in_order_and_the_last_one_for_ever() -> None:
    """Those that wait are not lost."""
    inbox = Inbox()
    for number in range(3):
        await inbox.put({"n": number})
    inbox.end(LAST)
    messages = [await inbox.get() for _ in range(5)]
    assert messages == [{"n": 0}, {"n": 1}, {"n": 2}, LAST, LAST]


async def test_a_full_inbox_stops_the_writer(autojump_clock: MockClock) -> None:
    """Until something is read."""
    inbox = Inbox()
    written = []

    async def write() -> None:
        for number in range(10):
            await inbox.put({"n": number})
            written.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        before = list(written)
        read = [(await inbox.get())["n"] for _ in range(10)]
    assert (before, read) == ([0, 1, 2, 3], list(range(10)))


async def test_the_end_does_not_wait_for_a_reader(autojump_clock: MockClock) -> None:
    """Neither does a writer, once nobody wants what it has."""
    inbox = Inbox()

    async def write() -> None:
        for number in range(10):
            await inbox.put({"n": number})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        inbox.end(LAST)
    messages = [await inbox.get() for _ in range(5)]
    assert messages == [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}, LAST]


async def test_a_reader_waits(autojump_clock: MockClock) -> None:
    """For a message, or for the end."""
    inbox = Inbox()
    messages = []

    async def read() -> None:
        messages.append(await inbox.get())

    for give in (lambda: inbox.put({"n": 1}), None):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            if give is None:
                inbox.end(LAST)
            else:
                await give()
    assert messages == [{"n": 1}, LAST]


async def test_a_cancelled_reader_takes_nothing(autojump_clock: MockClock) -> None:
    """What came meanwhile is there for the next one."""
    inbox = Inbox()
    with trio.move_on_after(1):
        await inbox.get()
    await inbox.put({"n": 1})
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.get()
    assert await inbox.get() == {"n": 1}
