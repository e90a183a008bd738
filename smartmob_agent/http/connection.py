"""One connection: its socket, its tasks and its deadlines."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from math import inf

import attrs
import trio

from smartmob_agent.http.asgi import App, Scope, Send
from smartmob_agent.http.exchange import Exchange, log_failure
from smartmob_agent.http.extensions import ClientLink, offer_client_link, offer_frames
from smartmob_agent.http.liveness import has_vanished, keep_alive, wait_gone
from smartmob_agent.http.protocol.h11 import Protocol, ProtocolSettings

__all__ = ["Connection", "Peer", "Stream"]

logger = logging.getLogger(__name__)

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_READ_BYTES = 16 * 1024
_WRITE_BYTES = 64 * 1024
"""A peer has `send_timeout` for each piece of this size: one that is only slow is kept."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with 0 seconds: what the peer did not take is dropped, see socket(7)."""


@attrs.frozen
class Peer:
    """Who is at the other end; all that come by a Unix socket are one host."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        if self.port is None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Connection:
    """A client's connection, from its acceptance to its end.

    Raises `OSError` when the client is gone before it began.
    """

    def __init__(self, stream: Stream, app: App, settings: ProtocolSettings) -> None:
        self._stream, self._app, self._settings = stream, app, settings
        self._limits = settings.limits
        transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        self._socket = transport.socket
        client = _address(self._socket.family, self._socket.getpeername())
        server = _address(self._socket.family, self._socket.getsockname())
        self.peer = Peer(*client) if client else Peer("unix")
        self._nursery: trio.Nursery
        self._deadline = inf
        self._timer = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._sending = trio.Lock()
        self._unsent: bytes | memoryview = b""
        self._linger = self._finished = self._ended = self._broken = False
        self._next_look = -inf
        keep_alive(self._socket, self._limits.ping_interval)
        self._link = ClientLink()
        self._protocol = Protocol(
            settings,
            self,
            tls=isinstance(stream, trio.SSLStream),
            client=client,
            server=server,
        )

    async def run(self) -> None:
        """Serve the connection; what goes wrong ends it, is logged once, and goes no further.

        If cancelled: the connection is reset at once.
        """
        try:
            async with trio.open_nursery() as self._nursery:  # calls of the application
                with self._reading:
                    if await self._shake_hands():
                        await self._read()
                await self._protocol.lose()
                await self._hang_up()
        except* Exception as group:  # noqa: BLE001 -- the boundary of one client
            log_failure(logger, "connection failed", group, str(self.peer))
        finally:
            self.abort()

    async def _shake_hands(self) -> bool:
        if not isinstance(self._stream, trio.SSLStream):
            return True
        try:
            with trio.move_on_after(self._limits.header_timeout) as limit:
                await self._stream.do_handshake()
        except trio.BrokenResourceError as error:
            logger.info(
                "handshake failed",
                extra={"peer": str(self.peer), "reason": str(error.__cause__)},
            )
            return False
        return not limit.cancelled_caught

    async def _read(self) -> None:
        self._protocol.start()
        while not self._ended:
            data = None
            with trio.CancelScope(deadline=self._deadline) as self._timer:
                data = await self._receive()
            if data is not None:
                self._ended = not data
                await self._protocol.receive(data)
            else:
                await self._protocol.time_out()
        if not (self._broken or self._finished or self._protocol.idle):
            await self._serve_half_closed()

    async def _serve_half_closed(self) -> None:
        """Let the peer have its answer: the end of what it sends is not its own (RFC 9112, 9.6).

        Returns when it has gone; `finish` ends it before, when the answer is complete.
        """
        self._link.half_close()
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._timer:
                await wait_gone(self._socket)
                return
            await self._protocol.time_out()

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(_READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._broken = True
            return b""

    async def _hang_up(self) -> None:
        """Close; wait for a peer that may still be sending, so that it sees its answer."""
        with (
            trio.move_on_after(self._limits.linger_timeout),
            contextlib.suppress(
                trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError
            ),
        ):
            if self._linger and not self._ended:
                if isinstance(self._stream, trio.abc.HalfCloseableStream):
                    async with self._sending:
                        await self._stream.send_eof()
                while await self._stream.receive_some(_READ_BYTES):
                    pass
            await self._stream.aclose()
        self.abort()

    def read_until(self, deadline: float) -> None:
        self._deadline = self._timer.deadline = deadline

    async def write(self, data: bytes) -> None:
        async with self._sending:
            unsent, self._unsent = memoryview(self._unsent), b""
            if await self._write_all(unsent) and await self._write_all(memoryview(data)):
                return
        self.abort()
        await self._protocol.lose()

    def write_now(self, pieces: Sequence[bytes]) -> int:
        busy = self._sending.locked() or self._unsent or self._finished
        if busy or isinstance(self._stream, trio.SSLStream):
            return 0
        try:
            written = os.writev(self._socket.fileno(), pieces)
        except OSError:  # it is full, or the peer is gone, which its reader learns
            return 0
        taken = 0
        while written > 0:
            written -= len(pieces[taken])
            taken += 1
        if written < 0:
            self._unsent = memoryview(pieces[taken - 1])[written:]
            self._nursery.start_soon(self.write, b"")
        return taken

    async def _write_all(self, data: memoryview) -> bool:
        for start in range(0, len(data), _WRITE_BYTES):
            if not await self._write_some(data[start : start + _WRITE_BYTES]):
                return False
        return True

    async def _write_some(self, piece: memoryview) -> bool:
        if trio.current_time() >= self._next_look:
            self._next_look = trio.current_time() + self._limits.ping_interval / 4
            self._drop_vanished()
        # Cancelled halfway, the rest of the connection would have no meaning.
        try:
            with trio.move_on_after(self._limits.send_timeout, shield=True) as limit:
                await self._stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return not limit.cancelled_caught

    def finish(self, *, linger: bool) -> None:
        if not self._finished:
            self._finished = True
            self._linger = linger
            self._reading.cancel()

    def finish_if_idle(self) -> None:
        """Close, unless a request or a WebSocket is being worked on."""
        if self._protocol.idle:
            self.finish(linger=False)

    def abort(self) -> None:
        # Below trio's stream, which has no such thing.  A `send_all` that is under way gets
        # `ClosedResourceError`, which the connection takes for the end of its peer in each place.
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()
        self.finish(linger=False)

    def _drop_vanished(self) -> None:
        # With the next look it is found out within three intervals, a minute by default.
        if has_vanished(self._socket, 1.75 * self._limits.ping_interval):
            self.abort()

    def start_call(self, scope: Scope, answer: Send) -> Send:
        self._link = ClientLink(abort=self.abort, drop_vanished=self._drop_vanished)
        offer_client_link(scope, self._link)
        if scope["type"] == "websocket":
            offer_frames(scope)
        call = Exchange(
            app=self._app,
            scope=scope,
            answer=answer,
            peer=str(self.peer),
            grace=self._limits.graceful_timeout,
        )
        self._nursery.start_soon(call.run, name=f"{scope['type']} {self.peer}")
        return call.put

    def start_task(self, run: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(run)


def _address(family: int, name: object) -> tuple[str, int] | None:
    """Return host and port; a Unix socket has none."""
    if family in (socket.AF_INET, socket.AF_INET6) and isinstance(name, tuple):
        return name[0], name[1]
    return None
