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


class Ports:
    """The ports of the processes of one agent.

    first, last: the range of those that it chooses itself, both included.
    is_free: whether nobody listens on a port, on whatever address.
    """

    def __init__(self, first: int, last: int, is_free: Callable[[int], bool]) -> None:
        self._first, self._last = first, last
        self.is_free = is_free
        self._taken: dict[int, str] = {}
        """Port → slug of who has it."""
        self._next = first

    def open(self, wish: PortWish, slug: str, had: int | None = None) -> PortLease:
        """Begin to care for the port of a process; close the lease at its end.

        had: what it had in an earlier life of the agent, and keeps if it can.

        A number is the process's own from now on; else `PortLease.secure` chooses one.

        Raises `PortInUseError` for a number that another process has.
        """
        lease = PortLease(wish=wish, slug=slug, ports=self)
        if wish == "auto" and had is not None and had not in self._taken:
            lease.number = self._take(had, slug)
        if isinstance(wish, int):
            if wish in self._taken:
                raise PortInUseError(wish, self._taken[wish])
            self._take(wish, slug)
        return lease

    def _take(self, number: int, slug: str) -> int:
        self._taken[number] = slug
        return number

    def owner(self, number: int) -> str | None:
        """Return the slug of the process that has a port."""
        return self._taken.get(number)

    def release(self, number: int | None) -> None:
        """Give a port back, if there is one."""
        if number is not None:
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
    """

    _wish: PortWish
    _slug: str
    _ports: Ports
    number: int | None = None

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
            had, self.number = self.number, None
            ports.release(had)
            self.number = await ports.choose(self._slug)
        else:
            await trio.lowlevel.checkpoint()
        return self.number

    def close(self) -> None:
        """Give the port back.  Safe to call more than once."""
        number = self._wish if isinstance(self._wish, int) else self.number
        if number is not None and self._ports.owner(number) == self._slug:
            self._ports.release(number)
        self.number = None
