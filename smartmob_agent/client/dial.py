"""Connections to an agent, without HTTP."""

from __future__ import annotations

import os
import socket
import ssl

import trio

from smartmob_agent.client.address import Address
from smartmob_agent.client.errors import UnreachableError

__all__ = ["CONNECT_TIMEOUT", "KEEPALIVE", "cause_of", "dial"]

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection, TLS included."""
KEEPALIVE = (
    # A peer that vanished without a word is found out after 50 s: 20 + 3 * 10.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""Options of TCP sockets."""


async def dial(address: Address, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect; the caller closes the stream.

    tls: whom to trust, for https.

    Raises `UnreachableError`.
    """
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            if address.unix is not None:
                return await trio.open_unix_socket(address.unix)
            stream = await trio.open_tcp_stream(address.host, address.port)
            for option in KEEPALIVE:
                stream.setsockopt(*option)
            return await _secure(stream, address, tls) if address.tls else stream
    except (OSError, UnicodeError, trio.TooSlowError, trio.BrokenResourceError) as exc:
        why = cause_of(exc)
        raise UnreachableError(f"cannot reach the agent at {address.text}: {why}") from exc


async def _secure(
    stream: trio.SocketStream, address: Address, tls: ssl.SSLContext | None
) -> trio.abc.Stream:
    """Speak TLS; the stream is closed if that fails."""
    secured = trio.SSLStream(
        stream,
        tls or ssl.create_default_context(),
        server_hostname=address.host,
        https_compatible=True,
    )
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


def cause_of(exc: BaseException) -> str:
    """Return what the operating system, or TLS, says: its words of an errno, without an address."""
    inner: BaseException | None = exc
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {inner.verify_message}"
        if isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
            continue
        if isinstance(inner, OSError) and inner.strerror:
            number = inner.errno or 0  # Those of name resolution are below 0.
            return (os.strerror(number) if number > 0 else inner.strerror).lower()
        if isinstance(inner, UnicodeError):
            return "no host has such a name"
        inner = inner.__cause__ or inner.__context__
    return "no answer in time"
