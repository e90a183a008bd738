"""The server on the virtual clock: isolation, bounds and stopping."""

from __future__ import annotations

import json
import uuid
from typing import Any

import trio
from trio.testing import MockClock

from tests.http.memory import hello, serving


async def test_two_requests_on_one_connection(autojump_clock: MockClock) -> None:
    """A connection is kept alive."""
    async with serving(hello) as server:
        client = server.connect()
        bodies = [(await client.request())[1], (await client.request())[1]]
        assert bodies == [b"hello ", b"hello "]


async def test_an_idle_connection_is_closed_after_the_header_timeout(
    autojump_clock: MockClock,
) -> None:
    """After an answer too: the timer must outlive the handler that ended with it."""
    async with serving(hello, header_timeout=7) as server:
        client = server.connect()
        await client.request()
        assert await client.rest() == b""
        assert trio.current_time() == 7


async def test_stopping_with_an_idle_connection_takes_no_time(
    autojump_clock: MockClock,
) -> None:
    """Nothing is waited for that nobody works on."""
    async with serving(hello) as server:
        await server.connect().request()
    assert trio.current_time() == 0


async def test_a_malformed_request_gets_a_problem_document(autojump_clock: MockClock) -> None:
    """The answer has an id, and ends the connection."""
    async with serving(hello) as server:
        client = server.connect()
        await client.send(b"PO ST / HTTP/1.1\r\n\r\n")
        data = await client.rest()
        head, _, body = data.partition(b"\r\n\r\n")
        headers: dict[str, Any] = dict(
            line.split(": ", 1) for line in head.decode().split("\r\n")[1:]
        )
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert uuid.UUID(headers["x-request-id"]).version == 4
        assert headers["connection"] == "close"
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["status"] == 400
