"""WebSockets to an agent, by trio-websocket."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import urlencode

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from smartmob_agent.client.address import Address
from smartmob_agent.client.dial import dial
from smartmob_agent.client.errors import ClientError, ConnectionLostError
from smartmob_agent.client.network import Query, Socket
from smartmob_agent.client.problems import refused

__all__ = ["WebSockets"]

_MESSAGE_BYTES = 1 << 20
"""A line has at most 64 KiB, which JSON may make six times as long."""
_READ_BYTES = 64 * 1024
_HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the answer to a handshake."""
_CLOSE_TIMEOUT = 1.0
"""Seconds for the answer to a close frame; nothing depends on it."""


E = TypeVar("E", bound=BaseException)


class WebSockets:
    """Opens WebSockets to one agent: `Sockets`.

    tls: which certificates to trust, for https.
    """

    def __init__(self, address: Address, *, token: str | None, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._tls = tls
        self._headers = [(b"user-agent", b"smartmob")]
        if token is not None:
            self._headers.append((b"authorization", b"Bearer " + token.encode("ascii")))

    @asynccontextmanager
    async def open(self, path: str, query: Query) -> AsyncGenerator[Socket]:
        given = urlencode({key: value for key, value in query.items() if value is not None})
        stream = _Watched(await dial(self._address, self._tls))
        error: ClientError | None = None
        try:
            async with trio.open_nursery() as nursery:
                connection = await self._shake_hands(nursery, stream, f"{path}?{given}")
                yield _Messages(connection)
                with trio.move_on_after(_CLOSE_TIMEOUT):
                    await connection.aclose()
                nursery.cancel_scope.cancel(reason="the WebSocket is left")
        except* ClientError as group:
            error = _first(group)
        except* ConnectionRejected as rejected:
            error = _refused(_first(rejected))
        finally:
            await trio.aclose_forcefully(stream.inner)
        if error is not None:
            raise error

    async def _shake_hands(
        self, nursery: trio.Nursery, stream: _Watched, resource: str
    ) -> WebSocketConnection:
        """Wait for the answer, or for the end of the stream: trio-websocket would miss that."""
        connection: WebSocketConnection | None = None
        async with trio.open_nursery() as waiting:
            waiting.cancel_scope.deadline = trio.current_time() + _HANDSHAKE_TIMEOUT
            waiting.start_soon(_cancel_at_end, stream, waiting.cancel_scope)
            connection = await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # It needs no more.
                self._address.authority,
                self._address.prefix + resource,
                extra_headers=self._headers,
                max_message_size=_MESSAGE_BYTES,
                receive_buffer_size=_READ_BYTES,
            )
            waiting.cancel_scope.cancel(reason="the WebSocket is open")
        if connection is not None:
            return connection
        raise ConnectionLostError(f"no WebSocket of an agent at {self._address.text}")


class _Messages:
    """The messages of a connection."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def receive(self) -> str:
        try:
            return str(await self._connection.get_message())
        except ConnectionClosed as exc:
            raise ConnectionLostError("the agent closed the WebSocket") from exc


class _Watched:
    """A stream, as far as trio-websocket uses it, that tells its end.

    ended: there is nothing more to receive.
    """

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.ended = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        try:
            data = await self.inner.receive_some(max_bytes)
        finally:
            if not data:
                self.ended.set()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def _cancel_at_end(stream: _Watched, scope: trio.CancelScope) -> None:
    await stream.ended.wait()
    scope.cancel(reason="the connection was closed")


def _first(group: BaseExceptionGroup[E]) -> E:
    """Return the first error in groups of groups."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _refused(error: ConnectionRejected) -> ClientError:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in error.headers
    }
    return refused(error.status_code, headers, error.body or b"")
