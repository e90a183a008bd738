"""Answers without an end: when a quiet one gives a sign of life."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from smartmob_agent.api.streams.following import QuietTimer
from smartmob_agent.api.streams.logs import FollowedLog
from smartmob_agent.http.extensions import ClientLink
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.console import Console
from tests.process.world import wall_clock

Clock = trio.testing.MockClock


async def never() -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def test_a_sign_is_due_after_the_interval(autojump_clock: Clock) -> None:
    """The client is looked after, too."""
    looks: list[float] = []
    link = ClientLink(drop_vanished=lambda: looks.append(trio.current_time()))
    timer = QuietTimer(link, 20)
    found = [await timer.next(never), await timer.next(never)]
    assert (found, looks, timer.quiet) == ([None, None], [20, 40], 40)


async def test_an_item_begins_the_interval_anew(autojump_clock: Clock) -> None:
    timer = QuietTimer(ClientLink(), 20)

    async def receive() -> bytes:
        await trio.sleep(15)
        return b"x"

    assert [await timer.next(receive), await timer.next(receive)] == [b"x", b"x"]
    assert (timer.quiet, trio.current_time()) == (0, 30)


@pytest.mark.parametrize("when", ["before", "between", "meanwhile"])
async def test_a_sign_is_due_at_once_when_the_client_ends_its_input(
    autojump_clock: Clock, when: str
) -> None:
    """Once: if it has gone for good, it answers with a reset."""
    link = ClientLink()
    if when == "before":
        link.half_close()
    timer = QuietTimer(link, 20)
    if when == "between":
        link.half_close()
    async with trio.open_nursery() as nursery:
        if when == "meanwhile":

            async def end() -> None:
                await trio.sleep(5)
                link.half_close()

            nursery.start_soon(end)
        await timer.next(never)
    times = [trio.current_time()]
    await timer.next(never)
    times.append(trio.current_time())
    begin = 5 if when == "meanwhile" else 0
    assert times == [begin, begin + 20]


async def test_followed_records_give_a_blank_as_a_sign_of_life(autojump_clock: Clock) -> None:
    """The line that follows it is JSON all the same."""
    console = Console(1 << 20, wall_clock)
    log = FollowedLog(console, console.subscribe(), "ndjson", ClientLink(), 20)
    parts = [await anext(log), await anext(log)]
    assert trio.current_time() == 40
    console.publish(Stream.STDOUT, b"later\n")
    parts.append(await anext(log))
    assert json.loads(b"".join(parts))["line"] == "later"
    assert parts[:2] == [b" ", b" "]


async def test_followed_text_has_no_sign_of_life_and_goes_on(autojump_clock: Clock) -> None:
    console = Console(1 << 20, wall_clock)
    log = FollowedLog(console, console.subscribe(), "text", ClientLink(), 20)

    async def write() -> None:
        await trio.sleep(1000)
        console.publish(Stream.STDOUT, b"later\n")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert (await anext(log), trio.current_time()) == (b"later\n", 1000)


async def test_quiet_text_ends_for_a_client_that_may_be_gone(autojump_clock: Clock) -> None:
    """It has ended its input, and cannot be asked whether it is there."""
    console = Console(1 << 20, wall_clock)
    link = ClientLink()
    log = FollowedLog(console, console.subscribe(), "text", link, 20)
    link.half_close()
    await trio.sleep(15)
    console.publish(Stream.STDOUT, b"line\n")
    assert await anext(log) == b"line\n"
    assert [part async for part in log] == []
    assert trio.current_time() == 15 + 40
