"""Our connections with the interface of httpcore; the only module that imports httpcore.

Its own connections would look up names themselves, and leave the socket of a cancelled TLS
handshake to the garbage collector.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore
import trio

from smartmob_agent.source.download.dialer import Dial

__all__ = ["open_pool", "reason_of"]

Errors = tuple[type[Exception], ...]

BROKEN: Errors = (trio.BrokenResourceError, trio.ClosedResourceError)


def open_pool(dial: Dial, context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """Make a pool that connects by `dial`, and closes each connection after the response.

    dial: exceptions other than `OSError` propagate.

    A pool loses track of cancelled requests, so each request needs a pool of its own.
    """
    return httpcore.AsyncConnectionPool(
        ssl_context=context, max_keepalive_connections=0, network_backend=_Backend(dial)
    )


def reason_of(exc: BaseException) -> str:
    """The message of the operating system or of TLS, from the end of a chain of errors."""
    while True:
        inner = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__
        # httpcore has the original error in the arguments, and cuts the chain of causes.
        inner = inner or next((arg for arg in exc.args if isinstance(arg, Exception)), None)
        if inner is None:
            break
        exc = inner
    text = exc.strerror if isinstance(exc, OSError) else str(exc)
    return re.sub(r"^Error connecting to .*: ", "", text or type(exc).__name__)


class _Backend(httpcore.AsyncNetworkBackend):
    """Time limits are those of the caller."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        with _mapped((OSError,), httpcore.ConnectError):
            return _Stream(await self._dial(host, port))


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        with _mapped(BROKEN, httpcore.ReadError):
            return bytes(await self._stream.receive_some(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        if not buffer:  # an empty body; a cancellation here would leave its generator open
            return
        with _mapped(BROKEN, httpcore.WriteError):
            await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        """Close at once; nothing that the server could still send matters."""
        await trio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        tls = trio.SSLStream(
            self._stream, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            with _mapped(BROKEN, httpcore.ConnectError):
                await tls.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(self._stream)
            raise
        return _Stream(tls)

    def get_extra_info(self, info: str) -> Any:  # noqa: ARG002
        """Nothing; httpcore asks whether HTTP/2 was agreed on, which we do not offer."""
        return None


@contextlib.contextmanager
def _mapped(errors: Errors, to: type[Exception]) -> Iterator[None]:
    """Translate errors of trio into one of httpcore, with the original as its argument."""
    try:
        yield
    except errors as exc:
        raise to(exc) from exc
