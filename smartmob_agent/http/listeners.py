"""Listening sockets, bound by ourselves: errors come before anything else has begun."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import trio

from smartmob_agent.bounded import call_bounded
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import StartError
from smartmob_agent.http.connection import Stream
from smartmob_agent.http.exposure import exposure_of
from smartmob_agent.http.tls import Tls

__all__ = ["Listener", "find_handed_over", "open_listeners"]

_BACKLOG = 1024
"""Connections that wait to be accepted; the kernel's own limit is 4096, see listen(2)."""
_FIRST_HANDED_OVER = 3
"""SD_LISTEN_FDS_START, sd_listen_fds(3)."""
_OPEN_TIMEOUT = 20.0
"""Seconds, real ones, for the resolver and for the disk of a Unix socket."""
_REMOVE_TIMEOUT = 5.0
_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""A name such as localhost may have addresses that this machine does not have."""


@attrs.define(eq=False)
class Listener:
    """A bound, listening socket; `url` says where, with the real port."""

    url: str
    _inner: trio.abc.Listener[Stream]
    close: Callable[[], None]
    """Stop listening; safe to call more than once."""
    _tls: Tls | None = None

    async def accept(self) -> Stream:
        """Wait for a connection; raises `OSError` when there are no descriptors left."""
        stream = await self._inner.accept()
        if self._tls is None:
            return stream
        # As trio's `SSLListener` does it, but by the certificate that is in use now.
        return trio.SSLStream(
            cast("trio.SocketStream", stream),
            self._tls.context,
            server_side=True,
            https_compatible=True,
        )


@contextlib.asynccontextmanager
async def open_listeners(
    config: AgentConfig, tls: Tls | None = None
) -> AsyncGenerator[list[Listener]]:
    """Bind and listen where `config` says; at exit all is closed, and a Unix socket removed.

    tls: of TCP sockets, which speak plain HTTP without.

    A name is looked up, and the disk of a Unix socket is asked, in a thread and within
    20 seconds; a socket file that cannot be removed in 5 is left to the next start.

    Raises `StartError` in one line; nothing is left open then.

    If cancelled: waits for what was begun, within those bounds.
    """
    try:
        opened = await call_bounded(
            partial(_open_sockets, config), limit=_OPEN_TIMEOUT, discard=_Opened.close
        )
    except TimeoutError as error:
        where = _host_port(config.host, config.port)
        also = "" if config.unix is None else f" and {config.unix}"
        raise StartError(
            f"cannot listen on {where}{also}: no answer in {_OPEN_TIMEOUT:.0f} seconds"
        ) from error
    with opened.descriptors, contextlib.ExitStack() as stack:
        listeners = [_listener(sock, tls) for sock in opened.sockets]
        for listener in listeners:
            stack.callback(listener.close)
        try:
            yield listeners
        finally:
            stack.close()
            if config.unix is not None:
                with trio.CancelScope(shield=True), contextlib.suppress(TimeoutError):
                    await call_bounded(
                        opened.files.close, limit=_REMOVE_TIMEOUT
                    )  # bounds the shield


@attrs.frozen(eq=False)
class _Opened:
    """Sockets that listen, with what closes them and what removes their files."""

    sockets: Sequence[socket.socket]
    descriptors: contextlib.ExitStack
    files: contextlib.ExitStack

    def close(self) -> None:
        """Do both."""
        self.descriptors.close()
        self.files.close()


def _open_sockets(config: AgentConfig) -> _Opened:
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as files:
        if config.descriptors:
            sockets = _open_handed_over(stack, config)
        else:
            sockets = _open_tcp(stack, config.host, config.port)
        if config.unix is not None:
            sockets.append(_open_unix(stack, files, config.unix))
        return _Opened(sockets, stack.pop_all(), files.pop_all())


def find_handed_over(environ: Mapping[str, str], pid: int) -> tuple[int, ...]:
    """Return the sockets that systemd hands over to the process `pid`: sd_listen_fds(3)."""
    if environ.get("LISTEN_PID") != str(pid):
        return ()
    count = environ.get("LISTEN_FDS", "")
    return (
        tuple(range(_FIRST_HANDED_OVER, _FIRST_HANDED_OVER + int(count)))
        if count.isdecimal()
        else ()
    )


def _open_handed_over(stack: contextlib.ExitStack, config: AgentConfig) -> list[socket.socket]:
    """Take over `config.descriptors`, which `stack` closes; children do not get them.

    Raises `StartError` for what is no listening stream socket, and for one that can be reached
    from other machines without credentials.
    """
    return [_take_over(stack, descriptor, config) for descriptor in config.descriptors]


def _take_over(stack: contextlib.ExitStack, descriptor: int, config: AgentConfig) -> socket.socket:
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


def _listener(sock: socket.socket, tls: Tls | None) -> Listener:
    trio_socket = trio.socket.from_stdlib_socket(sock)
    inner: trio.abc.Listener[Stream] = trio.SocketListener(trio_socket)
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:  # no TLS: nothing of it leaves the machine
        return Listener(f"unix:{name}", inner, trio_socket.close)
    scheme = "http" if tls is None else "https"
    return Listener(f"{scheme}://{_host_port(name[0], name[1])}", inner, trio_socket.close, tls)


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cannot(where: str, error: OSError) -> StartError:
    return StartError(f"cannot listen on {where}: {error.strerror or error}")


def _open_tcp(stack: contextlib.ExitStack, host: str, port: int) -> list[socket.socket]:
    """Return a socket for each address of `host`; all have the same port."""
    where = _host_port(host, port)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _cannot(where, error) from error
    except UnicodeError as error:  # a label that is too long, or empty
        raise StartError(f"cannot listen on {where}: not a name of a host") from error
    sockets: list[socket.socket] = []
    absent: list[OSError] = []
    for family, _, _, _, address in found:
        if sockets:
            port = sockets[0].getsockname()[1]
        try:
            sockets.append(_bind_tcp(stack, family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise _cannot(where, error) from error
            absent.append(error)
    if not sockets:
        raise _cannot(where, absent[0]) from absent[0]
    return sockets


def _bind_tcp(
    stack: contextlib.ExitStack, family: int, address: tuple[object, ...]
) -> socket.socket:
    sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    sock.listen(_BACKLOG)
    return sock


def _open_unix(
    stack: contextlib.ExitStack, files: contextlib.ExitStack, path: Path
) -> socket.socket:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    # The file gets the mode that the socket has when it is bound (unix(7) is silent,
    # unix_bind_bsd in Linux' net/unix/af_unix.c is not): nobody can come in between.
    os.fchmod(sock.fileno(), 0o600)
    path = path.absolute()
    try:
        _remove_stale(path)
        sock.bind(os.fspath(path))
        files.callback(_remove_own, path, path.lstat())
        sock.listen(_BACKLOG)
    except OSError as error:
        raise _cannot(os.fspath(path), error) from error
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket of an agent that is gone; raise `OSError` if there is anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "File exists, and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # alive, and busy
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _remove_own(path: Path, own: os.stat_result) -> None:
    """Remove our socket file, unless something else has taken its place."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.lstat(), own):
            path.unlink()
