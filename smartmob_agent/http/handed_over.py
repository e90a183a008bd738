"""Listening sockets that systemd hands over: sd_listen_fds(3)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import StartError
from smartmob_agent.http.exposure import exposure_of

__all__ = ["handed_over", "open_handed_over"]

_FIRST = 3
"""SD_LISTEN_FDS_START."""


def handed_over(environ: Mapping[str, str], pid: int) -> tuple[int, ...]:
    """Return the descriptors that are meant for the process `pid`; none if for another."""
    if environ.get("LISTEN_PID") != str(pid):
        return ()
    count = environ.get("LISTEN_FDS", "")
    return tuple(range(_FIRST, _FIRST + int(count))) if count.isdecimal() else ()


def open_handed_over(stack: contextlib.ExitStack, config: AgentConfig) -> list[socket.socket]:
    """Take over `config.descriptors`, which `stack` closes; children do not get them.

    Raises `StartError` for what is no listening stream socket, and for one that can be reached
    from other machines without credentials.
    """
    return [_open(stack, descriptor, config) for descriptor in config.descriptors]


def _open(stack: contextlib.ExitStack, descriptor: int, config: AgentConfig) -> socket.socket:
    where = f"descriptor {descriptor}"
    try:
        sock = stack.enter_context(socket.socket(fileno=descriptor))
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise StartError(f"cannot listen on {where}: {error.strerror}") from error
    if not listening or sock.type != socket.SOCK_STREAM:
        raise StartError(f"cannot listen on {where}: expected a listening stream socket")
    sock.set_inheritable(False)
    if sock.family != socket.AF_UNIX:
        reason = exposure_of(str(sock.getsockname()[0]), config)
        if reason is not None:
            raise StartError(f"cannot listen on {where}: {reason}")
    return sock
