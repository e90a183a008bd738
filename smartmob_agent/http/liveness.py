"""Whether the other end of a socket is still there, as the kernel sees it."""

from __future__ import annotations

import select
import socket
import struct

import trio

__all__ = ["has_vanished", "keep_alive", "wait_gone"]

Socket = socket.socket | trio.socket.SocketType

_PROBES = 4
_RETRIES = 3
"""Packets in a row that nobody acknowledged: a single one is in flight after each write."""
_TCP_INFO = struct.Struct("@2xBB52xI")
"""Of struct tcp_info, linux/tcp.h: tcpi_retransmits, tcpi_probes and tcpi_last_ack_recv (ms)."""


def keep_alive(sock: Socket, interval: float) -> None:
    """Let the kernel find out that the peer of a quiet connection has vanished.

    interval: seconds of silence until it asks for the first time, and then until it gives up.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return  # The other end of a Unix socket cannot vanish without a word.
    for option, seconds in (
        (socket.TCP_KEEPIDLE, interval),
        (socket.TCP_KEEPINTVL, interval / _PROBES),
    ):
        # tcp(7) does not tell the range: MAX_TCP_KEEPIDLE of Linux' include/net/tcp.h does.
        sock.setsockopt(socket.IPPROTO_TCP, option, max(1, min(int(seconds), 32767)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def has_vanished(sock: Socket, limit: float) -> bool:
    """Return whether the peer has acknowledged nothing for `limit` seconds, though it had to.

    While something is in flight the kernel sends no keep-alive, and it tries for a quarter of an
    hour.  TCP_USER_TIMEOUT would bound that, but it also ends a connection whose peer lives and
    reads nothing, such as a pager that waits for its user.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.fileno() < 0:
        return False
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    retransmits, probes, silent_ms = map(int, _TCP_INFO.unpack(data))
    return max(retransmits, probes) >= _RETRIES and silent_ms >= limit * 1000


async def wait_gone(sock: Socket) -> None:
    """Wait until the peer, which has ended its input, has gone for good.

    Also returns when keep-alives or a write have found that out.  What has no descriptor cannot be
    closed by half, and so returns at once.  If `sock` is closed meanwhile: waits until cancelled.
    """
    if sock.fileno() < 0:
        await trio.lowlevel.checkpoint()
        return
    # A half-closed socket is readable for ever.  An epoll(7) that asks for nothing is told
    # EPOLLHUP and EPOLLERR all the same, and can be waited for itself.
    with select.epoll() as gone:
        gone.register(sock.fileno(), 0)
        await trio.lowlevel.wait_readable(gone.fileno())
