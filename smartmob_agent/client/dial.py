"""Connections to an agent, without HTTP."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator

import trio

from smartmob_agent.client.address import Address
from smartmob_agent.client.errors import TlsError, UnreachableError

__all__ = ["CONNECT_TIMEOUT", "KEEPALIVE", "dial", "tls_error_in", "unreachable"]

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
_PLAIN = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
"""What OpenSSL calls bytes that are no TLS; the versions differ."""
_CERTIFICATE = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",  # Of TLS 1.2, where none was given.
    "SSLV3_ALERT_BAD_CERTIFICATE",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    "TLSV1_ALERT_UNKNOWN_CA",
}
"""What OpenSSL calls the words of a peer on a certificate of ours: RFC 8446, section 6.2."""


async def dial(address: Address, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect; the caller closes the stream.

    tls: which certificates to trust, for https.

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
        raise unreachable(address.text, exc) from exc


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


def unreachable(where: str, exc: BaseException) -> UnreachableError:
    """Return the error for a connection that was not made, or not as it should be."""
    beginning = f"cannot reach the agent at {where}"
    if (error := tls_error_in(exc)) is None:
        return UnreachableError(f"{beginning}: {_cause_of(exc)}")
    fault, words = _tls_fault(error)
    return TlsError(f"{beginning}: {words}", fault=fault)


def tls_error_in(exc: BaseException) -> ssl.SSLError | None:
    """Return the error of TLS that is the cause of another one, if one is."""
    return next((inner for inner in _causes(exc) if isinstance(inner, ssl.SSLError)), None)


def _tls_fault(error: ssl.SSLError) -> tuple[str, str]:
    """Return the kind of an error and words for it; its errno is none of the operating system."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "untrusted", f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "other", "it closed the connection before TLS had begun"
    reason: str = getattr(error, "reason", None) or "unknown"
    if reason in _PLAIN:
        return "plain", "it does not speak TLS"
    if reason in _CERTIFICATE:
        return "certificate", "it wants a certificate of its clients that it trusts"
    return "other", f"TLS: {reason.lower().replace('_', ' ')}"


def _causes(exc: BaseException) -> Iterator[BaseException]:
    inner: BaseException | None = exc
    while inner is not None:
        if isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
            continue
        yield inner
        inner = inner.__cause__ or inner.__context__


def _cause_of(exc: BaseException) -> str:
    """Return what the operating system says: its words of an errno, without an address."""
    for inner in _causes(exc):
        if isinstance(inner, OSError) and inner.strerror:
            number = inner.errno or 0  # Those of name resolution are below 0.
            return (os.strerror(number) if number > 0 else inner.strerror).lower()
        if isinstance(inner, UnicodeError):
            return "no host has such a name"
    return "no answer in time"
