"""The clock of the command: a pause of the whole program uses up nobody's time.

After SIGSTOP, in a frozen cgroup or on a machine that stood still, all limits are over at once,
while what was to come in time waits unread, or its sender has slept as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import attrs
import trio

__all__ = ["PatientClock"]

_PAUSE = 1.0
"""Seconds that a turn of the event loop may be late; more is no load but a pause."""

_GRACE = 2.0
"""Seconds after a pause in which no limit is over that was not about to be."""


@attrs.define(eq=False)
class PatientClock(trio.abc.Clock):
    """Real time without pauses: what is left of it is enough to hear the news.

    Before a deadline the event loop wakes once more, `_GRACE` seconds earlier: only who knows when
    it was to wake can tell a pause from a long sleep.

    read: seconds that never go back.
    """

    _read: Callable[[], float] = time.perf_counter
    _lost: float = attrs.field(default=0.0, init=False)
    """Seconds of pauses that did not count."""
    _seen: float = attrs.field(init=False)
    """When somebody asked last, as `_read`."""
    _wake_at: float = attrs.field(default=-math.inf, init=False)
    """When the event loop is to be back at the latest, as `_read`."""
    _deadline: float = attrs.field(default=-math.inf, init=False)
    """What comes next then, as `_read`."""

    def start_clock(self) -> None:
        """See `trio.abc.Clock`."""
        self._seen = self._read()

    def current_time(self) -> float:
        """See `trio.abc.Clock`."""
        now = self._read()
        if now - max(self._seen, self._wake_at) > _PAUSE:
            counted = max(self._seen, min(now, self._deadline - _GRACE))
            self._lost += now - counted
        self._seen, self._wake_at, self._deadline = now, -math.inf, -math.inf
        return now - self._lost

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See `trio.abc.Clock`."""
        left = deadline - self.current_time()
        sleep = left - _GRACE if left > _GRACE else left
        self._wake_at, self._deadline = self._seen + sleep, self._seen + left
        return sleep
