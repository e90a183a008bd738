"""HTTP requests to an agent, by httpx."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol, Self

import httpx
import trio

from smartmob_agent.client.address import Address
from smartmob_agent.client.dial import CONNECT_TIMEOUT, KEEPALIVE, tls_error_in, unreachable
from smartmob_agent.client.errors import (
    BadAnswerError,
    ClientError,
    ConnectionLostError,
)
from smartmob_agent.client.network import Answer, Body, Query, StreamedAnswer
from smartmob_agent.client.problems import refused

__all__ = ["FileBody", "Transport", "open_transport"]

_CLOSE_TIMEOUT = 1.0
"""Seconds to close a connection in an orderly way, which matters to TLS alone."""
_PART_BYTES = 256 * 1024
"""Each part is a trip to a thread."""


class Transport:
    """Sends requests to one agent: `Requests`.

    timeout: seconds without any progress after which a connection counts as lost.
    """

    def __init__(self, http: httpx.AsyncClient, address: Address, timeout: float) -> None:
        self._http = http
        self._where = address.text
        self._base = address.base
        self._timeout = timeout

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        long_running: bool = False,
    ) -> Answer:
        """Return the answer."""
        async with self.stream(
            method, path, query=query, body=body, headers=headers, long_running=long_running
        ) as answer:
            content = b"".join([part async for part in answer.parts])
            return Answer(headers=answer.headers, body=content)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        long_running: bool = True,
    ) -> AsyncGenerator[StreamedAnswer]:
        """Open an answer, to be read while it comes."""
        try:
            request = self._http.build_request(
                method,
                self._base + path,
                params=_params(query or {}),
                content=body if isinstance(body, bytes) else None,
                headers=headers,
                timeout=httpx.Timeout(
                    None if long_running else self._timeout, connect=CONNECT_TIMEOUT
                ),
            )
            if body is not None and not isinstance(body, bytes):
                request.stream = _Streamed(body)
            response = await self._http.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as exc:
            raise self._client_error(exc) from exc
        raw = response.aiter_raw()
        try:
            parts = _Parts(raw, self._client_error)
            if not response.is_success:
                body = b"".join([part async for part in parts])
                raise refused(response.status_code, response.headers, body)
            yield StreamedAnswer(headers=response.headers, parts=parts)
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
                await _close_body(raw)
                await response.aclose()

    def _client_error(self, exc: Exception) -> ClientError:
        """Return the client's error for one of httpx."""
        # In TLS 1.3 the agent rejects a client certificate only after the client's handshake.
        begun = not isinstance(exc, (httpx.ConnectError, httpx.ConnectTimeout, UnicodeError))
        if not begun or tls_error_in(exc) is not None:
            return unreachable(self._where, exc)
        if isinstance(exc, httpx.TimeoutException):
            return ConnectionLostError(f"no answer in time from the agent at {self._where}")
        if isinstance(exc, (httpx.NetworkError, httpx.RemoteProtocolError)):
            return ConnectionLostError(f"lost the connection to the agent at {self._where}")
        return BadAnswerError(f"expected an agent at {self._where}: {exc}")


def _params(query: Query) -> dict[str, str | list[str]]:
    return {
        name: [*map(str, value)] if isinstance(value, list) else str(value)
        for name, value in query.items()
        if value is not None
    }


class _Streamed(httpx.AsyncByteStream):
    """A body in parts; httpx's own is a generator, which a cancelled request leaves unfinished."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._parts


class _File(Protocol):
    async def read(self, size: int, /) -> bytes: ...


class FileBody:
    """A file as the body of a request.

    No generator: a request that fails would leave it unfinished.

    progress: called with the bytes read so far and the size of the file.
    """

    def __init__(
        self,
        file: _File,
        size: int,
        progress: Callable[[int, int], object],
    ) -> None:
        self._file = file
        self._size = size
        self._read = 0
        self._progress = progress

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not (part := await self._file.read(_PART_BYTES)):
            raise StopAsyncIteration
        self._read += len(part)
        self._progress(self._read, self._size)
        return part


class _Parts:
    """The parts of a body, with the client's errors."""

    def __init__(
        self, raw: AsyncIterator[bytes], client_error: Callable[[Exception], ClientError]
    ) -> None:
        self._raw = raw
        self._client_error = client_error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._raw)
        except httpx.HTTPError as exc:
            raise self._client_error(exc) from exc


async def _close_body(raw: AsyncIterator[bytes]) -> None:
    """Close a body that was not read to its end.

    A body is a chain of generators; `aclose` would close only the first and leave the others to
    the garbage collector.  A cancelled read closes them all.
    """
    with trio.CancelScope() as scope, suppress(httpx.HTTPError):
        scope.cancel(reason="the answer is not read on")
        async for _part in raw:
            pass  # What was received already.


@asynccontextmanager
async def open_transport(
    address: Address, *, token: str | None, tls: ssl.SSLContext | None, timeout: float
) -> AsyncGenerator[Transport]:
    """Open a pool of connections to an agent.

    tls: which certificates to trust, for https.
    """
    # Without https nothing is trusted, and no certificate need be loaded, which takes 20 ms.
    context = tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    sockets = httpx.AsyncHTTPTransport(
        verify=context,
        uds=address.unix,
        socket_options=None if address.unix else KEEPALIVE,
        trust_env=False,
        # Each log that is followed has one for itself.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=4),
    )
    headers = {"Accept-Encoding": "identity", "User-Agent": "smartmob"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx.AsyncClient(transport=sockets, trust_env=False, headers=headers) as http:
        yield Transport(http, address, timeout)
