"""How many children all processes together may start in a second."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from smartmob_agent.child.seam import Child, Command, Spawner

__all__ = ["PacedSpawner", "StartRate"]


class StartRate:
    """Gives so many turns in any second, in the order in which they are asked for.

    A turn comes back a second after its start is over, not after it began: so a child and the
    one that takes its turn are a second apart, however long a start takes.

    A process waits here with at most one start, so the order of arrival is fair: whoever
    crashes more often than others waits behind all of them each time.

    most: starts a second; below 1 it is one start in `1 / most` seconds.  0 is no limit.
    """

    def __init__(self, most: float) -> None:
        self._limited = 0 < most < math.inf
        turns = max(math.floor(most), 1) if self._limited else 0
        self._window = turns / most if self._limited else 0.0
        self._back = deque([-math.inf] * turns)  # When each comes back; earliest first.
        self._order = trio.Lock()  # First come, first served.
        self._given_back = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until one more child may be started; the block is to start it.

        If cancelled while it waits: that counts for nothing, and the next goes on at once.
        """
        if not self._limited:
            await trio.lowlevel.checkpoint()
            yield
            return
        await self._wait_turn()
        try:
            yield
        finally:
            self._back.append(trio.current_time() + self._window)
            self._given_back.unpark()

    async def _wait_turn(self) -> None:
        async with self._order:
            if not self._back:
                await self._given_back.park()
            await trio.sleep_until(self._back[0])
            self._back.popleft()


@attrs.frozen(eq=False)
class PacedSpawner:
    """A spawner that starts its children at a rate."""

    _spawner: Spawner
    _rate: StartRate

    @property
    def containment(self) -> str:
        return self._spawner.containment

    @property
    def unlimited(self) -> frozenset[str]:
        return self._spawner.unlimited

    async def spawn(self, command: Command) -> Child:
        """See `Spawner.spawn`; waits for its turn first."""
        async with self._rate.turn():
            return await self._spawner.spawn(command)
