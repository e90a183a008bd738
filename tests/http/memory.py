"""A server in memory: every test has the virtual clock and no port."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import h11
import trio
import trio.testing
from wsproto import ConnectionType
from wsproto.connection import Connection as FramesConnection
from wsproto.events import Event

from smartmob_agent.config.settings import HttpLimits
from smartmob_agent.http.asgi import App
from smartmob_agent.http.body_limits import Bodies, BodyLimits
from smartmob_agent.http.listeners import Listener
from smartmob_agent.http.server import serve_http

KEY = base64.b64encode(bytes(16))
UPGRADE = (
    b"GET /socket HTTP/1.1\r\nHost: agent\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


class MemorySocket:
    """As much of a socket as the server looks at."""

    family = socket.AF_INET

    def __init__(self, stream: Any, host: str) -> None:
        self._stream, self._host = stream, host

    def getpeername(self) -> tuple[str, int]:
        return (self._host, 4711)

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 8080)

    def setsockopt(self, *_: object) -> None:
        pass

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self._stream.send_stream.close()
        self._stream.receive_stream.close()


class MemoryListener(trio.abc.Listener[Any]):
    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[Any](1000)

    async def accept(self) -> Any:
        accepted = await self._receive.receive()
        if isinstance(accepted, OSError):
            raise accepted
        return accepted

    async def aclose(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._receive.close()


@attrs.define(eq=False)
class Client:
    """The other end of a connection."""

    stream: Any
    http: h11.Connection = attrs.field(factory=lambda: h11.Connection(h11.CLIENT))

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def request(self, target: str = "/", **headers: str) -> tuple[h11.Response, bytes]:
        """Send a GET request and return the answer."""
        lines = [("host", "agent"), *headers.items()]
        request = h11.Request(method="GET", target=target, headers=lines)
        await self.send(self.http.send(request) or b"")
        await self.send(self.http.send(h11.EndOfMessage()) or b"")
        response = await self.response()
        if self.http.our_state is h11.DONE:
            self.http.start_next_cycle()
        return response

    async def response(self) -> tuple[h11.Response, bytes]:
        """Read one answer, by a parser that is not ours."""
        head: h11.Response | None = None
        body = b""
        while True:
            await trio.lowlevel.checkpoint()
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(bytes(await self.stream.receive_some(65536)))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return head, body
            else:
                assert isinstance(event, h11.InformationalResponse), event

    async def rest(self) -> bytes:
        """Read until the server closes; reset counts as closed."""
        data = b""
        try:
            while piece := await self.stream.receive_some(65536):
                data += piece
        except trio.BrokenResourceError:
            pass
        return data

    async def upgrade(self, data: bytes = UPGRADE) -> WebSocket:
        """Open a WebSocket; fails if it is refused."""
        await self.send(data)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self.stream.receive_some(1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        return WebSocket(self.stream)


class WebSocket:
    """The client's end of a WebSocket; what comes is answered only on demand."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.frames = FramesConnection(ConnectionType.CLIENT)

    async def send(self, event: Event) -> None:
        await self.stream.send_all(self.frames.send(event))

    async def next(self) -> Event | None:
        """Return the next message, ping or close; None when the server hangs up."""
        while True:
            await trio.lowlevel.checkpoint()
            for event in self.frames.events():
                return event
            try:
                data = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.frames.receive_data(bytes(data))


@attrs.define(eq=False)
class Server:
    """A running server; `connect` gives clients of it."""

    listener: MemoryListener
    stop: trio.Event
    scope: trio.CancelScope
    streams: list[Any] = attrs.field(factory=list)
    """The server's ends of all connections."""

    def connect(self, *, host: str = "10.0.0.1", lockstep: bool = False) -> Client:
        """lockstep: writes of the server wait until the client has read them."""
        ours, theirs = _stream_pair(host, lockstep=lockstep)
        self.accept(theirs)
        return Client(ours)

    def connect_tls(self, server_side: ssl.SSLContext, client_side: ssl.SSLContext) -> Client:
        ours, theirs = _stream_pair("10.0.0.1", lockstep=False)
        self.accept(trio.SSLStream(theirs, server_side, server_side=True, https_compatible=True))
        name = "agent.example.org"
        return Client(
            trio.SSLStream(ours, client_side, server_hostname=name, https_compatible=True)
        )

    def accept(self, stream: Any) -> None:
        """Let the server accept a stream, or meet an error."""
        self.streams.append(stream)
        self.listener.send.send_nowait(stream)


def _stream_pair(host: str, *, lockstep: bool) -> tuple[Any, Any]:
    make = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
    ours, theirs = make()
    cast("Any", theirs).socket = MemorySocket(theirs, host)
    return ours, theirs


@asynccontextmanager
async def serving(
    app: App, *, bodies: Mapping[tuple[str, str], BodyLimits] | None = None, **limits: Any
) -> AsyncIterator[Server]:
    """Serve `app`; at exit the server is stopped, and must come to its end.

    bodies: limits of routes that have their own.
    """
    listener = MemoryListener()
    scope = trio.CancelScope()
    server = Server(listener, trio.Event(), scope)

    async def run(**status: Any) -> None:
        with scope:
            await serve_http(
                app,
                [Listener("memory:", listener, listener.close)],
                limits=HttpLimits(**limits),
                bodies=Bodies(HttpLimits(**limits), bodies),
                stop=server.stop,
                **status,
            )

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield server
        server.stop.set()


async def hello(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """An application: reads all of the request, and answers with what it read."""
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    await answer(send, b"hello " + body)


async def answer(send: Any, body: bytes, status: int = 200) -> None:
    length = str(len(body)).encode()
    headers = [(b"content-length", length), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """An application for WebSockets: sends back what comes; "fail" and "leave" are orders."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "fail":
            raise ValueError("as ordered")
        if message["text"] == "leave":
            await send({"type": "websocket.close", "code": 1001, "reason": "bye"})
            return
        await send({"type": "websocket.send", "text": message["text"]})
