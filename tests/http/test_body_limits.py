"""Bodies with limits of their own, on the virtual clock."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smartmob_agent.http.body_limits import BodyLimits
from tests.http.memory import Client, answer, hello, serving

LONG = {("PUT", "/long"): BodyLimits(size_bytes=100_000, idle_timeout=30, total_timeout=1000)}
PUT = b"PUT /long?x HTTP/1.1\r\nHost: agent\r\n"


async def status_of(client: Client) -> int:
    data = await client.rest()
    return int(data[9:12])


async def test_a_long_body_may_take_its_time(autojump_clock: MockClock) -> None:
    """As long as something comes."""
    async with serving(hello, bodies=LONG, body_bytes=10, body_timeout=5) as server:
        client = server.connect()
        await client.send(PUT + b"Content-Length: 40\r\n\r\n")
        for _ in range(10):
            await trio.sleep(29)
            await client.send(b"xxxx")
        assert (await client.response())[1] == b"hello " + b"x" * 40


async def test_other_routes_and_methods_have_the_usual_limits(autojump_clock: MockClock) -> None:
    """For size and for time."""
    async with serving(hello, bodies=LONG, body_bytes=10, body_timeout=5) as server:
        for head in (b"POST /long", b"PUT /longer", b"PUT /"):
            client = server.connect()
            await client.send(head + b" HTTP/1.1\r\nHost: agent\r\nContent-Length: 11\r\n\r\n")
            assert await status_of(client) == 413
            client, began = server.connect(), trio.current_time()
            await client.send(head + b" HTTP/1.1\r\nHost: agent\r\nContent-Length: 10\r\n\r\n")
            await trio.sleep(4)
            await client.send(b"x")
            assert await status_of(client) == 408
            assert trio.current_time() == began + 5


@pytest.mark.parametrize(("interval", "end"), [(31, 30), (29, 1000)])
async def test_a_body_that_does_not_come_is_given_up(
    interval: int, end: int, autojump_clock: MockClock
) -> None:
    """When nothing has come for a while, and when it takes too long in all."""

    async def trickle(client: Client) -> None:
        while True:
            await trio.sleep(interval)
            await client.send(b"x")

    async with serving(hello, bodies=LONG) as server, trio.open_nursery() as nursery:
        client = server.connect()
        await client.send(PUT + b"Content-Length: 100\r\n\r\n")
        nursery.start_soon(trickle, client)
        assert await status_of(client) == 408
        assert trio.current_time() == end
        nursery.cancel_scope.cancel()


async def test_the_time_of_the_agent_is_not_the_clients(autojump_clock: MockClock) -> None:
    """While nobody takes what it sent, it has nothing to answer for."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            await trio.sleep(100)
            message = await receive()
            size, more = size + len(message["body"]), message["more_body"]
        await answer(send, str(size).encode())

    limits = {("PUT", "/long"): BodyLimits(size_bytes=10**6, idle_timeout=30, total_timeout=9e9)}
    async with serving(slow, bodies=limits) as server:
        client = server.connect()
        await client.send(PUT + b"Content-Length: 200000\r\n\r\n" + bytes(200_000))
        assert (await client.response())[1] == b"200000"
        assert trio.current_time() > 1000


async def test_a_long_body_is_bounded_too(autojump_clock: MockClock) -> None:
    """By its announcement, and by what comes."""
    async with serving(hello, bodies=LONG) as server:
        client = server.connect()
        await client.send(PUT + b"Content-Length: 100001\r\n\r\n")
        assert await status_of(client) == 413
        client = server.connect()
        await client.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(11):
            await client.send(b"2710\r\n" + bytes(10_000) + b"\r\n")
            await wait_all_tasks_blocked()
        assert await status_of(client) == 413
