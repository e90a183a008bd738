"""When a download that was cut short goes on: exponential delays, with full jitter."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs
import trio

from smartmob_agent.errors import TransientDownloadError
from smartmob_agent.source.download.partial import PartialFile

__all__ = ["Resumes"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

BASE_DELAY = 1.0
"""Seconds that the first delay is at most; each further one in a row is at most twice as long."""

STEADY_BYTES = 1024 * 1024
"""What a try must bring to count as a success, after which the next one is the first again."""


@attrs.define(eq=False, kw_only=True)
class Resumes:
    """Counts the tries of one download.

    limit: tries in a row that bring next to nothing.
    random: as `random.random`; it spreads those whose server went away.
    """

    limit: int
    random: Callable[[], float]
    _tries: int = 0

    def delay(self, brought_bytes: int) -> float | None:
        """Seconds until the next try, None if it is time to give up.

        brought_bytes: by the last one.
        """
        self._tries = 1 if brought_bytes >= STEADY_BYTES else self._tries + 1
        if self._tries > self.limit:
            return None
        return float(self.random() * BASE_DELAY * 2 ** (self._tries - 1))

    async def run(self, part: PartialFile, attempt: Callable[[PartialFile], Awaitable[T]]) -> T:
        """Return what `attempt` does, repeated as long as it may go on with what is there.

        Raises `TransientDownloadError` when that is not so, or it is time to give up.
        """
        while True:
            before = part.size_bytes
            try:
                return await attempt(part)
            except TransientDownloadError as exc:
                delay = self.delay(part.size_bytes - before)
                if delay is None or not (before or part.can_go_on):
                    raise
                logger.info("cut short", extra={"error": str(exc), "delay": f"{delay:.1f}"})
            await trio.sleep(delay)
