"""Connections of downloads, each to exactly the address that was checked.

A name is looked up once for each connection.  So it cannot have a harmless address when it is
checked and another one when it is used (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, ip_address
from itertools import chain, zip_longest

import attrs
import trio

from smartmob_agent.source.download.egress import Address, EgressFilter, ForbiddenError

__all__ = ["Dial", "Dialer", "Resolver"]

Dial = Callable[[str, int], Awaitable[trio.abc.Stream]]

LOOKUPS = 20
"""Lookups at once.  A thread that waits for a name server cannot be stopped; with a limit of their
own, abandoned lookups do not use up the agent's threads."""

ATTEMPT_TIMEOUT = 3.0
"""Seconds before the next address of a host is tried; the last one may use the remaining time."""

Lookup = Callable[[str], Awaitable[Sequence[str]]]


def _ask_system(host: str) -> Sequence[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@attrs.define(eq=False, kw_only=True)
class Resolver:
    """Looks up names, in threads.

    ask: host → addresses; blocks.
    """

    ask: Callable[[str], Sequence[str]] = _ask_system
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(LOOKUPS))

    async def lookup(self, host: str) -> Sequence[str]:
        """The addresses of a host as text, in the order of the system (RFC 6724).

        Raises `OSError` if there are none, `UnicodeError` for a host that cannot be a name.

        If cancelled: a thread stays until the name server answers.
        """
        return await trio.to_thread.run_sync(
            self.ask, host, abandon_on_cancel=True, limiter=self._limiter
        )


async def connect(address: Address, port: int) -> trio.SocketStream:
    """Connect to an address; raises `OSError`."""
    return await trio.open_tcp_stream(str(address), port)


@attrs.define(eq=False, kw_only=True)
class Dialer:
    """Connects to hosts that a policy allows."""

    policy: EgressFilter
    lookup: Lookup = attrs.field(factory=lambda: Resolver().lookup)
    connect: Callable[[Address, int], Awaitable[trio.abc.Stream]] = connect

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to the first address of a host that is allowed and answers.

        host: a name or an address.

        Raises `ForbiddenError` when no address is allowed; `OSError` when there is none, or the
        last one does not answer.

        If cancelled: no connection is left.
        """
        allowed = self._allowed(host, await self._addresses(host))
        for address in allowed[:-1]:
            try:
                with trio.fail_after(ATTEMPT_TIMEOUT):
                    return await self.connect(address, port)
            except (OSError, trio.TooSlowError):
                continue
        return await self.connect(allowed[-1], port)

    async def _addresses(self, host: str) -> list[Address]:
        self.policy.check_name(host)
        try:
            return [ip_address(host)]
        except ValueError:
            found = await self.lookup(host)
        return [ip_address(address) for address in dict.fromkeys(found)]

    def _allowed(self, host: str, addresses: Iterable[Address]) -> list[Address]:
        allowed: list[Address] = []
        refused: list[ForbiddenError] = []
        for address in addresses:
            try:
                self.policy.check(host, address)
            except ForbiddenError as exc:
                refused.append(exc)
            else:
                allowed.append(address)
        if not allowed:
            raise refused[0]
        return _in_turn(allowed)


def _in_turn(addresses: Sequence[Address]) -> list[Address]:
    """Alternate between IPv4 and IPv6: one of them may not work at all."""
    first = isinstance(addresses[0], IPv4Address)
    same = [address for address in addresses if isinstance(address, IPv4Address) == first]
    other = [address for address in addresses if isinstance(address, IPv4Address) != first]
    return [address for address in chain(*zip_longest(same, other)) if address is not None]
