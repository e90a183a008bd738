"""How many children all processes together may start in a second."""

from __future__ import annotations

import math
from collections import deque

import attrs
import trio

from smartmob_agent.child.spawn import Child, Command, Spawner

__all__ = ["PacedSpawner", "StartRate"]


class StartRate:
    """Lets so many through in any second, and in the order in which they came.

    A process waits here with at most one start, so the order of arrival is fair: whoever
    crashes more often than others waits behind all of them each time.

    most: starts a second; below 1 it is one start in `1 / most` seconds.  0 is no limit.
    """

    def __init__(self, most: float) -> None:
        limited = 0 < most < math.inf
        self._most = max(math.floor(most), 1) if limited else 1
        self._window = self._most / most if limited else 0.0
        self._starts = deque[float](maxlen=self._most)
        self._turn = trio.Lock()  # First come, first served.

    async def wait_turn(self) -> None:
        """Wait until one more child may be started, and count it.

        If cancelled: it counts for nothing, and the next in turn goes on at once.
        """
        async with self._turn:
            if len(self._starts) == self._most:
                await trio.sleep_until(self._starts[0] + self._window)
            self._starts.append(trio.current_time())


@attrs.frozen(eq=False)
class PacedSpawner:
    """A spawner that starts its children at a rate."""

    _spawner: Spawner
    _rate: StartRate

    @property
    def containment(self) -> str:
        return self._spawner.containment

    async def spawn(self, command: Command) -> Child:
        """See `Spawner.spawn`; waits for its turn first."""
        await self._rate.wait_turn()
        return await self._spawner.spawn(command)
