"""Ending a tree for certain, even one that forks while it is being killed.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import time

from .bare import TYPE_CHECKING
from .kernel import kill_below, kill_children, resume, stop_below

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Purge"]

_FIRST_DELAY, _LAST_DELAY = 0.001, 1.0
_REPORT_INTERVAL = 1.0


class Purge:
    """SIGKILL for everything below this process but `spared`, round by round.

    The caller reaps, asks for a round when a child ended or `delay` seconds have passed, and
    calls `finish()` when nothing is left: SIGKILL takes time in the kernel, or for ever in
    a process that sleeps uninterruptibly.
    """

    def __init__(self, *, gently: bool = False) -> None:
        """An end of what is there.

        gently: only kill children at first, which is enough for most trees, and leaves time to
            others that end at once.  A storm of forks outruns it.
        """
        self.delay = 0.0
        """0 while a storm goes on: who sleeps in it is not woken for half a second."""
        self._gently = gently
        self._stopped: set[int] = set()
        """In the last round."""
        self._owed: set[int] = set()
        """Stopped in some round and not known to be ours: `stop_below()` has no time to look."""
        self._report_at = time.monotonic() + _REPORT_INTERVAL
        self._left: Collection[int] = ()

    def round(self, spared: Collection[int] = (), *, progress: bool = True) -> None:
        """Signal what is there now.

        progress: whether something has ended since the last round.
        """
        self.delay = _FIRST_DELAY if progress else min(_LAST_DELAY, 2 * self.delay)
        self.delay = max(_FIRST_DELAY, self.delay)
        if self._gently:
            self._gently = False
            self._left = kill_children(spared)
            return
        stopped = stop_below(spared)
        self._owed |= stopped
        if stopped <= self._stopped:  # nobody who could fork is left
            self._left = kill_below(spared)
            self._owed.difference_update(self._left)
            self.finish()
        else:
            self.delay = 0.0
        self._stopped = stopped

    def finish(self) -> None:
        """Let those go on that were stopped and are not ours, from whatever round."""
        resume(self._owed)
        self._owed.clear()

    def report(self) -> str:
        """Once a second the processes that resist, else an empty string."""
        now = time.monotonic()
        if now < self._report_at:
            return ""
        self._report_at = now + _REPORT_INTERVAL
        return " ".join(map(str, sorted(self._left)[:20]))
