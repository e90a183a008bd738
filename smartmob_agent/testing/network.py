"""A network without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import trio

from smartmob_agent.process.network import Notifications, ProbeError

__all__ = ["FakeNetwork", "FakeNotifications"]


class FakeNotifications:
    """What a child says of itself.

    closed: whether nobody listens any more.
    """

    def __init__(self, number: int) -> None:
        self.address = f"@fake-{number}"
        self.closed = False
        self._ready = trio.Event()

    def say_ready(self) -> None:
        """Say READY=1."""
        self._ready.set()

    async def wait_ready(self) -> None:
        await self._ready.wait()


class FakeNetwork:
    """A machine on which every child listens at once, unless a test says otherwise.

    taken: ports that strangers have.
    refuses: whether nobody listens at any port.
    status: of each answer to a GET.
    delay: seconds that a probe takes.
    probes: port and path (None for a plain connection) of each probe, in order.
    under_way: probes that have not ended.
    notifications: all that were opened, in order.
    """

    def __init__(
        self,
        *,
        taken: Iterable[int] = (),
        refuses: bool = False,
        status: int = 200,
        delay: float = 0.0,
    ) -> None:
        self.taken = set(taken)
        self.refuses = refuses
        self.status = status
        self.delay = delay
        self.probes: list[tuple[int, str | None]] = []
        self.under_way = 0
        self.notifications: list[FakeNotifications] = []

    def is_free(self, port: int) -> bool:
        return port not in self.taken

    async def connect(self, port: int) -> None:
        await self._probe(port, None)

    async def get(self, port: int, path: str) -> int:
        await self._probe(port, path)
        return self.status

    @asynccontextmanager
    async def open_notifications(self) -> AsyncIterator[Notifications]:
        opened = FakeNotifications(len(self.notifications))
        self.notifications.append(opened)
        try:
            yield opened
        finally:
            opened.closed = True

    async def _probe(self, port: int, path: str | None) -> None:
        self.probes.append((port, path))
        self.under_way += 1
        try:
            await trio.sleep(self.delay)
        finally:
            self.under_way -= 1
        if self.refuses:
            raise ProbeError("connection refused")
