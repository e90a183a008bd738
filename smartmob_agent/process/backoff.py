"""When to try again: exponential backoff with full jitter.

The idea and its name are from "Exponential Backoff And Jitter", AWS Architecture
Blog, 2015: a random time between nothing and a bound that doubles keeps many
processes that failed together from starting together.
"""

from __future__ import annotations

from collections.abc import Callable

from smartmob_agent.config.settings import RestartDelays

__all__ = ["Backoff"]


class Backoff:
    """Counts the tries of one process.

    random: returns a number from 0 (included) to 1 (not included) at each call.
    """

    def __init__(self, delays: RestartDelays, random: Callable[[], float]) -> None:
        self._delays = delays
        self._random = random
        self._bound = delays.base_delay

    def reset(self) -> None:
        """Something went well: the next failure counts as the first."""
        self._bound = self._delays.base_delay

    def after_run(self, uptime: float) -> float:
        """Return the seconds to wait after a run of `uptime` seconds, however it ended."""
        if uptime >= self._delays.steady_uptime:
            self.reset()
            return 0.0
        return self.after_failure()

    def after_failure(self, retry_after: float | None = None) -> float:
        """Return the seconds to wait after a failure.

        retry_after: seconds to wait at least, but no longer than the cap.
        """
        bound = min(self._bound, self._delays.cap_delay)
        # Bounded here too: 2.0 ** 1024 is an OverflowError.
        self._bound = min(self._bound * self._delays.factor, self._delays.cap_delay)
        return max(bound * self._random(), min(retry_after or 0.0, self._delays.cap_delay))
