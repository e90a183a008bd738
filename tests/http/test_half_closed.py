"""A client that has ended its input waits for its answer; one that has gone does not."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from wsproto.events import Ping

from smartmob_agent.config.settings import AgentConfig, HttpLimits
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.extensions import ClientLink, get_client_link
from smartmob_agent.http.listeners import open_listeners
from smartmob_agent.http.liveness import has_vanished, wait_gone
from smartmob_agent.http.server import serve_http
from tests.http.memory import UPGRADE, Client, answer, serving

LIMIT = 10
SO_ATTACH_FILTER = 26
"""socket(7)."""
GET = b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n"


@attrs.define(eq=False)
class App:
    """Answers when it is let go, and notes what it hears of its client."""

    go: trio.Event = attrs.field(factory=trio.Event)
    called: trio.Event = attrs.field(factory=trio.Event)
    half_closed: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    link: ClientLink = attrs.field(factory=ClientLink)
    send: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.link, self.send = get_client_link(scope), send
        self.link.when_half_closed(self.half_closed.set)
        self.called.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, receive)
            if scope["type"] == "websocket":
                await send({"type": "websocket.accept"})
            await self.go.wait()
            if self.gone.is_set():
                pass
            elif scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            else:
                await answer(send, b"late")
            nursery.cancel_scope.cancel()

    async def _listen(self, receive: Any) -> None:
        while not (await receive())["type"].endswith(".disconnect"):
            pass
        self.gone.set()
        self.go.set()


@asynccontextmanager
async def served(
    tmp_path: Path, app: App, *, unix: bool = False, **limits: Any
) -> AsyncIterator[trio.SocketStream]:
    """Yield a client of a real server."""
    stop, path = trio.Event(), tmp_path / "agent.sock"
    config = AgentConfig(port=0, unix=path if unix else None)
    http = HttpLimits(**{"graceful_timeout": LIMIT, **limits})
    with trio.fail_after(LIMIT):
        async with open_listeners(config) as listeners, trio.open_nursery() as nursery:
            await nursery.start(
                partial(serve_http, app, listeners, limits=http, bodies=Bodies(http), stop=stop)
            )
            if unix:
                stream = await trio.open_unix_socket(str(path))
            else:
                port = int(listeners[0].url.rpartition(":")[2])
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                yield stream
            stop.set()


def go_deaf(stream: trio.SocketStream) -> None:
    """As if the client's machine were gone: what comes is dropped, and not acknowledged."""
    program = ctypes.create_string_buffer(struct.pack("@HBBI", 0x06, 0, 0, 0))  # return 0
    value = struct.pack("@HP", 1, ctypes.addressof(program))
    stream.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, value)


@pytest.mark.parametrize("unix", [False, True])
async def test_a_client_that_has_ended_its_input_gets_its_answer(
    tmp_path: Path, *, unix: bool
) -> None:
    """RFC 9112, section 9.6; and then the end, since it cannot ask for more."""
    app = App()
    async with served(tmp_path, app, unix=unix) as stream:
        await stream.send_all(GET)
        await stream.send_eof()
        await app.half_closed.wait()
        app.go.set()
        data = await Client(stream).rest()
    assert data.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close\r\n" in data.lower()
    assert (data.endswith(b"late"), app.gone.is_set()) == (True, False)


async def test_its_pipelined_requests_are_all_answered(tmp_path: Path) -> None:
    app = App()
    app.go.set()
    async with served(tmp_path, app) as stream:
        await stream.send_all(GET * 3)
        await stream.send_eof()
        assert (await Client(stream).rest()).count(b"late") == 3


async def test_a_half_closed_unix_socket_that_is_closed_is_told_at_once(tmp_path: Path) -> None:
    """No message has to be tried: the kernel knows."""
    app = App()
    async with served(tmp_path, app, unix=True) as stream:
        await stream.send_all(GET)
        await stream.send_eof()
        await app.half_closed.wait()
        await stream.aclose()
        await app.gone.wait()
    assert app.link.half_closed


async def test_a_closed_client_is_told_by_what_it_is_sent(tmp_path: Path) -> None:
    """Its kernel answers with a reset, which ends a handler that does not send again."""
    app = App()
    async with served(tmp_path, app) as stream:
        await stream.send_all(GET)
        await app.called.wait()
        await stream.aclose()
        await app.half_closed.wait()
        assert not app.gone.is_set()
        await app.send({"type": "http.response.start", "status": 200, "headers": []})
        await app.gone.wait()
    assert app.gone.is_set()


async def test_a_websocket_that_is_cut_is_told_by_a_ping(tmp_path: Path) -> None:
    """At once, not when the next ping would be due."""
    app = App()
    async with served(tmp_path, app, ping_interval=1000) as stream:
        await Client(stream).upgrade()
        await stream.aclose()
        await app.gone.wait()
    assert app.link.half_closed


async def test_a_half_closed_websocket_goes_on(tmp_path: Path) -> None:
    """Until it owes an answer to a ping."""
    app = App()
    async with served(tmp_path, app, ping_interval=1000, graceful_timeout=0.1) as stream:
        websocket = await Client(stream).upgrade()
        await stream.send_eof()
        assert await websocket.next() == Ping(payload=b"")
        await app.send({"type": "websocket.send", "text": "x"})
        event: Any = await websocket.next()
        assert (event.data, app.gone.is_set()) == ("x", False)
        app.go.set()


async def test_one_that_does_not_answer_our_close_is_closed_in_time(tmp_path: Path) -> None:
    app = App()
    async with served(tmp_path, app, graceful_timeout=0.1) as stream:
        await stream.send_all(UPGRADE)
        await stream.send_eof()
        await app.half_closed.wait()
        app.go.set()
        assert (await Client(stream).rest()).endswith(b"\x88\x02\x03\xe8")


async def test_one_that_has_not_ended_its_request_is_refused(tmp_path: Path) -> None:
    """What is missing does not come any more."""
    app = App()
    async with served(tmp_path, app) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
        await stream.send_eof()
        assert (await Client(stream).rest()).startswith(b"HTTP/1.1 400 ")
        await app.gone.wait()
    assert not app.link.half_closed


@pytest.mark.slow
async def test_a_quiet_client_that_has_vanished_is_found_by_keep_alives(tmp_path: Path) -> None:
    """By the kernel: twice `ping_interval` after its last sign."""
    app = App()
    async with served(tmp_path, app, ping_interval=1) as stream:
        await stream.send_all(GET)
        await app.called.wait()
        go_deaf(stream)
        await app.gone.wait()
    assert not app.link.half_closed


@pytest.mark.slow
async def test_one_that_vanishes_with_data_in_flight_is_found_by_the_next_write(
    tmp_path: Path,
) -> None:
    """There are no keep-alives then, and the kernel would try for a quarter of an hour."""
    app = App()
    async with served(tmp_path, app, ping_interval=1) as stream:
        await stream.send_all(GET)
        await app.called.wait()
        go_deaf(stream)
        await app.send({"type": "http.response.start", "status": 200, "headers": []})
        while not app.gone.is_set():
            await app.send({"type": "http.response.body", "body": b"x", "more_body": True})
            with trio.move_on_after(0.1):
                await app.gone.wait()
    assert not app.link.half_closed


def fill(sock: socket.socket) -> None:
    with suppress(BlockingIOError):
        while True:
            sock.send(bytes(65536))


async def test_one_that_reads_nothing_has_not_vanished() -> None:
    """A pager that waits for its user: its kernel answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        reader = socket.create_connection(server.getsockname())
        writer, _ = server.accept()
    with reader, writer:
        writer.setblocking(False)
        fill(writer)
        assert [has_vanished(writer, limit) for limit in (0, 1000)] == [False, False]
    assert not has_vanished(writer, 0)


async def test_a_unix_socket_does_not_vanish() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not has_vanished(ours, 0)


async def test_waiting_for_the_end_can_be_cancelled() -> None:
    """It leaves nothing open: warnings are errors."""
    ours, theirs = socket.socketpair()
    with ours, theirs, trio.CancelScope() as scope:
        theirs.shutdown(socket.SHUT_WR)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_gone, ours)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_what_has_no_descriptor_is_closed_as_a_whole(autojump_clock: Any) -> None:
    """As streams in memory."""
    app = App()
    async with serving(app) as server:
        client = server.connect()
        await client.send(GET)
        await wait_all_tasks_blocked()
        await client.stream.send_eof()
        await app.gone.wait()
    assert app.gone.is_set()
