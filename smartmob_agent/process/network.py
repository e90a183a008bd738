"""The seam between a process and the network of its machine: `LocalNetwork`.

`Loopback` is the real one, `smartmob_agent.testing` has a fake.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import attrs
import httpx
import trio

__all__ = ["LocalNetwork", "Loopback", "Notifications", "ProbeError"]

_ADDRESSES = ("127.0.0.1", "::1")
"""Node, for one, listens on the second one alone if it is told `localhost`."""

_CREDENTIALS = struct.Struct("3i")
"""`struct ucred`: pid, uid, gid; unix(7)."""

_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

_NOTIFY_BYTES = 4096
"""More than any state of sd_notify(3) takes."""


class ProbeError(Exception):
    """A probe has failed; says why in a few words."""


class Notifications(Protocol):
    """What a child and its descendants say of themselves, as sd_notify(3) does."""

    @property
    def address(self) -> str:
        """For the environment of the child, as `NOTIFY_SOCKET`."""
        ...

    async def wait_ready(self) -> None:
        """Wait until one of them has said READY=1."""
        ...


class LocalNetwork(Protocol):
    """Ports of this machine, and what answers there."""

    def is_free(self, port: int) -> bool:
        """Whether a program could listen on a TCP port on any address; quick."""
        ...

    async def connect(self, port: int) -> None:
        """Connect to a TCP port, and close the connection at once.

        Raises `ProbeError` when nobody listens there.
        """
        ...

    async def get(self, port: int, path: str) -> int:
        """Return the status of the answer to a GET.  Redirects are not followed.

        Raises `ProbeError` when there is no answer in HTTP.
        """
        ...

    def open_notifications(self) -> contextlib.AbstractAsyncContextManager[Notifications]:
        """Listen, for as long as the block takes, to what a child says of itself."""
        ...


class Loopback:
    """The real `LocalNetwork`."""

    def is_free(self, port: int) -> bool:
        """See `LocalNetwork.is_free`."""
        # One socket for both families takes all addresses, so each listener is in its way,
        # whatever address it has.  SO_REUSEADDR: connections that have ended are not.
        for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104
            try:
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                    probe.bind((address, port))
            except OSError as exc:
                if family == socket.AF_INET6 and exc.errno in _NO_IPV6:
                    continue
                return False
            return True
        return False  # pragma: no cover  -- the second family always returns

    async def connect(self, port: int) -> None:
        """See `LocalNetwork.connect`."""
        stream, _ = await _open_stream(port)
        await trio.aclose_forcefully(stream)

    async def get(self, port: int, path: str) -> int:
        """See `LocalNetwork.get`."""
        stream, address = await _open_stream(port)
        await trio.aclose_forcefully(stream)
        host = f"[{address}]" if ":" in address else address
        # By its usual name: some frameworks refuse to be asked by number.
        headers = {
            "Host": f"localhost:{port}",
            "User-Agent": "smartmob-agent",
            "Connection": "close",
        }
        try:
            async with (
                httpx.AsyncClient(verify=False, trust_env=False, timeout=None) as client,  # noqa: S113, S501
                client.stream("GET", f"http://{host}:{port}{path}", headers=headers) as answer,
            ):
                return answer.status_code
        except httpx.HTTPError as exc:
            raise ProbeError(f"no answer in HTTP ({type(exc).__name__})") from exc

    @asynccontextmanager
    async def open_notifications(self) -> AsyncIterator[Notifications]:
        """See `LocalNetwork.open_notifications`."""
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            # In the abstract namespace, so that nothing is left of it, however the agent ends.
            name = f"smartmob-agent-{secrets.token_hex(16)}"
            await listener.bind(f"\0{name}")
            yield _SocketNotifications(address=f"@{name}", listener=listener)


async def _open_stream(port: int) -> tuple[trio.SocketStream, str]:
    """Connect to whoever listens on a port; return the address, too."""
    reason = ""
    for address in _ADDRESSES:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await connection.connect((address, port))
        except OSError as exc:
            connection.close()
            reason = reason or (exc.strerror or str(exc)).lower()
        except BaseException:
            connection.close()
            raise
        else:
            return trio.SocketStream(connection), address
    raise ProbeError(reason)


@attrs.frozen(kw_only=True)
class _SocketNotifications:
    """address: with the `@` that stands for the abstract namespace."""

    address: str
    listener: trio.socket.SocketType

    async def wait_ready(self) -> None:
        space = socket.CMSG_SPACE(_CREDENTIALS.size)
        while True:
            message, ancillary, _, _ = await self.listener.recvmsg(_NOTIFY_BYTES, space)
            # Everybody may write to an abstract socket.
            users = [
                _CREDENTIALS.unpack(data)[1]
                for level, kind, data in ancillary
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
            ]
            if users and users[0] in (0, os.geteuid()) and b"READY=1" in message.split(b"\n"):
                return
