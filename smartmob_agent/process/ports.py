"""TCP ports for processes: no two of an agent have the same one."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from smartmob_agent.errors import PortInUseError, PortUnavailableError
from smartmob_agent.process.policies import PortWish

__all__ = ["PortLease", "Ports"]

_TRIES = 64
"""Looks at ports, some microseconds each, between two turns for other tasks."""


@attrs.define(eq=False)
class _Use:
    """A port that a process has: twice while one version of it replaces another."""

    slug: str
    count: int = 1


class Ports:
    """The ports of the processes of one agent.

    first, last: the range of those that it chooses itself, both included.
    is_free: whether nobody listens on a port, on whatever address.
    """

    def __init__(self, first: int, last: int, is_free: Callable[[int], bool]) -> None:
        self._first, self._last = first, last
        self.is_free = is_free
        self._taken: dict[int, _Use] = {}
        self._next = first

    def open(self, wish: PortWish, slug: str, had: int | None = None) -> PortLease:
        """Begin to care for the port of a process; close the lease at its end.

        had: what it had in an earlier life of the agent, or has already, and keeps if it can.

        A number is the process's own from now on; else `PortLease.secure` chooses one.

        Raises `PortInUseError` for a number that another process has.
        """
        lease = PortLease(wish=wish, slug=slug, ports=self)
        if isinstance(wish, int):
            if not self._is_for(wish, slug):
                raise PortInUseError(wish, self._taken[wish].slug)
            lease.held = self._take(wish, slug)
        elif wish == "auto" and had is not None and self._is_for(had, slug):
            lease.held = lease.number = self._take(had, slug)
        return lease

    def _is_for(self, number: int, slug: str) -> bool:
        use = self._taken.get(number)
        return use is None or use.slug == slug

    def _take(self, number: int, slug: str) -> int:
        if number in self._taken:
            self._taken[number].count += 1
        else:
            self._taken[number] = _Use(slug)
        return number

    def release(self, number: int | None) -> None:
        """Give a port back, if there is one."""
        if number is not None:
            self._taken[number].count -= 1
            if self._taken[number].count == 0:
                del self._taken[number]

    async def choose(self, slug: str) -> int:
        """Take the next one that is free, and after the last one look from the first one on.

        So a port that was given back is not used again at once, while clients still mean whoever
        had it before.
        """
        for count in range(self._last - self._first + 1):
            if count % _TRIES == 0:
                await trio.lowlevel.checkpoint()
            number = self._next
            self._next = number + 1 if number < self._last else self._first
            if number not in self._taken and self.is_free(number):
                return self._take(number, slug)
        raise PortUnavailableError(
            f"no port of {self._first} to {self._last} is free: give the agent more with --ports"
        )


@attrs.define(eq=False, kw_only=True)
class PortLease:
    """The port of one process.

    number: None if it has none, or none yet.
    held: what nobody else gets meanwhile.
    """

    _wish: PortWish
    _slug: str
    _ports: Ports
    number: int | None = None
    held: int | None = None

    async def secure(self) -> int | None:
        """Return a port on which a child can listen now: the one that it had, if it is free still.

        Raises `PortUnavailableError` when there is none.

        If cancelled: has what it had before, or nothing.
        """
        ports = self._ports
        if self._wish == "none":
            await trio.lowlevel.checkpoint()
        elif self._wish != "auto":
            await trio.lowlevel.checkpoint()
            if not ports.is_free(self._wish):
                raise PortUnavailableError(
                    f"port {self._wish} is in use by a program that is not the agent's"
                )
            self.number = self._wish
        elif self.number is None or not ports.is_free(self.number):
            self.close()
            self.held = self.number = await ports.choose(self._slug)
        else:
            await trio.lowlevel.checkpoint()
        return self.number

    def close(self) -> None:
        """Give the port back.  Safe to call more than once."""
        held, self.held, self.number = self.held, None, None
        self._ports.release(held)
