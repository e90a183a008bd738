"""Connections as httpcore wants them: the only module that knows it.

Not its own ones: they would look names up by themselves, and leave a TLS handshake that is
cancelled to the garbage collector, with its socket.
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
    """Make a pool that connects by `dial`, and closes each connection after its answer.

    dial: what it raises but `OSError` comes through.

    A pool loses track of requests that are cancelled, so it is for one request each.
    """
    return httpcore.AsyncConnectionPool(
        ssl_context=context, max_keepalive_connections=0, network_backend=_Backend(dial)
    )


def reason_of(exc: BaseException) -> str:
    """What the operating system or TLS said, from the bottom of a chain of errors."""
    while True:
        inner = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__
        # httpcore keeps what it maps in the arguments, and cuts the chain of causes.
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
        if (
            not buffer
        ):  # the body of our requests, whose generator a cancellation would leave behind
            return
        with _mapped(BROKEN, httpcore.WriteError):
            await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        """Close at once; nothing that a server could send now would count."""
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
    """Raise the error of httpcore for one of trio, which the pool keeps only as its argument."""
    try:
        yield
    except errors as exc:
        raise to(exc) from exc
