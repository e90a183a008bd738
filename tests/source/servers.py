"""Servers of archives for tests: real sockets on loopback, and transports without any."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial

import attrs
import httpx
import trio
import trio.testing

TLS_HANDSHAKE = b"\x16"

Connect = Callable[[object, int], Awaitable[trio.abc.Stream]]
Handler = Callable[[trio.abc.Stream, bytes], Awaitable[None]]


def respond(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer, with the right Content-Length unless `headers` has one."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-enc")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@attrs.define(eq=False)
class Server:
    """What was asked of a server, and where it is.

    hosts: (host, port) of each connection, where there are no sockets.
    open: how many connections there are.
    closed: set when the first connection has ended.
    """

    url: str
    handle: Handler | dict[str, bytes]
    requests: list[bytes] = attrs.field(factory=list)
    hosts: list[tuple[str, int]] = attrs.field(factory=list)
    open: int = 0
    closed: trio.Event = attrs.field(factory=trio.Event)

    async def connection(self, stream: trio.abc.Stream) -> None:
        """Serve a connection until one of its ends has enough of it."""
        self.open += 1
        try:
            async with stream:
                if request := await self._receive(stream):
                    self.requests.append(request)
                    await self._answer(stream, request)
        except trio.BrokenResourceError:
            pass
        finally:
            self.open -= 1
            self.closed.set()

    async def _receive(self, stream: trio.abc.Stream) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            more = await stream.receive_some()
            if not more or more.startswith(TLS_HANDSHAKE):
                return b""
            request += more
        return request

    async def _answer(self, stream: trio.abc.Stream, request: bytes) -> None:
        if callable(self.handle):
            await self.handle(stream, request)
        else:
            await stream.send_all(self.handle[request.split()[1].decode()])


@contextlib.asynccontextmanager
async def open_server(handle: Handler | dict[str, bytes]) -> AsyncGenerator[Server]:
    """Serve on a free port: a function for each connection, or path → answer."""
    server = Server("", handle)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.connection, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def open_memory_server(
    handle: Handler | dict[str, bytes],
) -> AsyncGenerator[tuple[Server, Connect]]:
    """Serve every host without any socket, as it takes a virtual clock."""
    server = Server("http://h", handle)
    async with trio.open_nursery() as nursery:

        async def connect(host: object, port: int) -> trio.abc.Stream:
            server.hosts.append((str(host), port))
            await trio.lowlevel.checkpoint()
            ours, theirs = trio.testing.lockstep_stream_pair()
            nursery.start_soon(server.connection, theirs)
            return ours

        yield server, connect
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Body(httpx.AsyncByteStream):
    """A body in pieces, each of them behind a step of its own; once closed, at once."""

    _pieces: Iterable[bytes]
    step: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    closed: bool = False
    _left: Iterator[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._left = iter(self._pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self.closed:
            await self.step()
        try:
            return next(self._left)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self.closed = True
