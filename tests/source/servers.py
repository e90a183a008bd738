"""Servers of archives for tests: real sockets on loopback, and transports without any."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial

import attrs
import httpx
import trio

TLS_HANDSHAKE = b"\x16"

Handler = Callable[[trio.SocketStream, bytes], Awaitable[None]]


def respond(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer, with the right Content-Length unless `headers` has one."""
    lines = [f"HTTP/1.1 {status}", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-enc")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@attrs.define(eq=False)
class Server:
    """What was asked of a server, and where it is."""

    url: str
    requests: list[bytes] = attrs.field(factory=list)
    closed: trio.Event = attrs.field(factory=trio.Event)
    """Set when the first connection has ended."""


@contextlib.asynccontextmanager
async def open_server(handle: Handler | dict[str, bytes]) -> AsyncGenerator[Server]:
    """Serve on a free port: a function for each connection, or path → answer."""
    server = Server("")

    async def connection(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                request = b""
                while b"\r\n\r\n" not in request:
                    more = await stream.receive_some()
                    if not more or more.startswith(TLS_HANDSHAKE):
                        return
                    request += more
                server.requests.append(request)
                if callable(handle):
                    await handle(stream, request)
                else:
                    await stream.send_all(handle[request.split()[1].decode()])
        except trio.BrokenResourceError:
            pass
        finally:
            server.closed.set()

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, connection, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield server
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
