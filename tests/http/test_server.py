"""The server on the virtual clock: how many connections, and how it stops."""

from __future__ import annotations

import errno
import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import CloseConnection, TextMessage

from tests.http.memory import MemorySocket, answer, echo, hello, serving


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Take as many seconds for the answer as the path says."""
    await trio.sleep(float(scope["path"][1:]))
    await answer(send, b"slow")


async def flood(scope: Any, receive: Any, send: Any) -> None:
    """Send without end, to a WebSocket or to a plain request."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
    await send({"type": "websocket.accept"})
    while True:
        await send({"type": "websocket.send", "text": "x" * 1000})


async def test_connections_over_the_limit_are_refused(autojump_clock: MockClock) -> None:
    """A place is free again when its connection has ended."""
    async with serving(hello, connections=2) as server:
        first, second, third = (server.connect(host=f"10.0.0.{n}") for n in range(3))
        await first.request()
        assert await third.rest() == b""
        await first.stream.aclose()
        await wait_all_tasks_blocked()
        _, body = await server.connect(host="10.0.0.4").request()
        assert body == b"hello "
        assert (await second.request())[1] == b"hello "


async def test_one_peer_cannot_have_all_connections(autojump_clock: MockClock) -> None:
    """The limit of one address does not touch another one."""
    async with serving(hello, connections_per_peer=1) as server:
        first, second = server.connect(host="10.0.0.1"), server.connect(host="10.0.0.1")
        other = server.connect(host="10.0.0.2")
        assert await second.rest() == b""
        assert [(await c.request())[1] for c in (first, other)] == [b"hello "] * 2


async def test_refusals_are_logged_once_a_second(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood of connections does not become a flood of log lines."""
    caplog.set_level(logging.INFO)
    async with serving(hello, connections=1) as server:
        for pause in (0.5, 0.5, 0.25):
            for _ in range(50):
                server.connect()
            await trio.sleep(pause)
    logged = [(r.getMessage(), vars(r)["refused"]) for r in caplog.records]
    assert logged == [("connection refused", 1), ("connection refused", 100)]


async def test_a_failing_accept_is_tried_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without descriptors the agent waits for some to come back."""
    async with serving(hello) as server:
        server.accept(OSError(errno.EMFILE, "Too many open files"))
        _, body = await server.connect().request()
        assert (body, trio.current_time()) == (b"hello ", 0.1)
    assert [vars(record)["reason"] for record in caplog.records] == ["Too many open files"]


async def test_a_peer_that_is_gone_at_once_is_nothing(autojump_clock: MockClock) -> None:
    """Its address cannot be had any more."""

    class Gone(MemorySocket):
        def getpeername(self) -> tuple[str, int]:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    async with serving(hello) as server:
        ours, theirs = trio.testing.memory_stream_pair()
        theirs.socket = Gone(theirs, "")  # type: ignore[attr-defined]  # as `SocketStream` has
        server.accept(theirs)
        assert await ours.receive_some() == b""
        assert (await server.connect().request())[1] == b"hello "


async def test_stopping_with_an_idle_connection_takes_no_time(autojump_clock: MockClock) -> None:
    """Nothing is waited for that nobody works on."""
    async with serving(hello) as server:
        client = server.connect()
        await client.request()
        server.stop.set()
        assert await client.rest() == b""
    assert trio.current_time() == 0


async def test_stopping_lets_requests_end(autojump_clock: MockClock) -> None:
    """Their answers say that the connection ends; new connections are not accepted."""
    async with serving(slow, graceful_timeout=3) as server:
        client = server.connect()
        await client.send(b"GET /2 HTTP/1.1\r\nHost: agent\r\n\r\n")
        await trio.sleep(1)
        server.stop.set()
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            server.connect()
        data = await client.rest()
        await client.stream.aclose()
        assert b"\r\nconnection: close\r\n" in data.lower()
        assert data.endswith(b"\r\n\r\nslow")
    assert trio.current_time() == 2


async def test_stopping_is_bounded_by_the_graceful_timeout(autojump_clock: MockClock) -> None:
    """A request that takes longer is cut."""
    async with serving(slow, graceful_timeout=3) as server:
        client = server.connect()
        await client.send(b"GET /100 HTTP/1.1\r\nHost: agent\r\n\r\n")
        await trio.sleep(1)
        server.stop.set()
        assert await client.rest() == b""
    assert trio.current_time() == 4


async def test_a_request_that_comes_while_stopping_ends_its_connection(
    autojump_clock: MockClock,
) -> None:
    """What is idle is closed, even if it begins to send right now."""
    async with serving(hello) as server:
        client = server.connect()
        await client.send(b"GET / HT")
        await wait_all_tasks_blocked()
        server.stop.set()
        assert await client.rest() == b""


@pytest.mark.parametrize("websocket", [False, True])
async def test_stopping_does_not_wait_for_who_does_not_read(
    autojump_clock: MockClock, *, websocket: bool
) -> None:
    """The write is shielded; its connection is reset when the time is over."""
    async with serving(flood, graceful_timeout=3, send_timeout=100) as server:
        client = server.connect(lockstep=True)
        if websocket:
            await client.upgrade()
        else:
            await client.send(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
        await wait_all_tasks_blocked()
        server.stop.set()
    assert trio.current_time() == 3


@pytest.mark.parametrize("websocket", [False, True])
async def test_cancelling_does_not_wait_for_who_does_not_read(
    autojump_clock: MockClock, *, websocket: bool
) -> None:
    """Every connection is reset at once."""
    async with serving(flood, send_timeout=100) as server:
        client = server.connect(lockstep=True)
        if websocket:
            await client.upgrade()
        else:
            await client.send(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
        await wait_all_tasks_blocked()
        server.scope.cancel()
        await client.rest()
    assert trio.current_time() == 0


async def test_a_websocket_that_its_handler_closes_at_stop_ends_cleanly(
    autojump_clock: MockClock,
) -> None:
    """The peer gets the code, and its answer is waited for."""
    leave = trio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await leave.wait()
        await send({"type": "websocket.close", "code": 1001, "reason": "the agent stops"})

    async with serving(app, graceful_timeout=3) as server:
        websocket = await server.connect().upgrade()
        server.stop.set()
        leave.set()
        close = await websocket.next()
        assert close == CloseConnection(code=1001, reason="the agent stops")
        await trio.sleep(1)
        await websocket.send(close.response())
        assert await websocket.next() is None
    assert trio.current_time() == 1


async def test_a_websocket_that_does_not_answer_the_close_is_cut(
    autojump_clock: MockClock,
) -> None:
    """The graceful timeout bounds the closing handshake."""
    async with serving(echo, graceful_timeout=3) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(TextMessage("leave"))
        assert await websocket.next() == CloseConnection(code=1001, reason="bye")
        assert await websocket.next() is None
        assert trio.current_time() == 3


async def test_two_servers_in_one_program(autojump_clock: MockClock) -> None:
    """Stopping one does not touch the other."""
    async with serving(hello) as first, serving(hello) as second:
        client = second.connect()
        first.stop.set()
        await wait_all_tasks_blocked()
        assert (await client.request())[1] == b"hello "
