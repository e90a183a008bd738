"""A moment of calm for an app that was told to end, in the midst of a storm that it has made.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import time

from .bare import TYPE_CHECKING
from .kernel import are_many, resume, stop_below
from .schedule import take_precedence

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Calm"]

_MANY = 128
"""Descendants that may want the processor; with fewer an app ends soon enough by itself."""

_MOMENT = 0.1
"""Seconds; who is told to end and has the processor for itself, needs a tenth of it."""


class Calm:  # pragma: no cover  runs in the guard
    """Holds all that is below this process, for a moment, so that some of them can end."""

    def __init__(self) -> None:
        self._held: Collection[int] = ()
        self._until = 0.0

    def begin(self) -> bool:
        """Stop all that is below us, if that is much; False if it is not."""
        if not are_many(_MANY):
            return False
        take_precedence()
        self._held = stop_below()
        self._until = time.monotonic() + _MOMENT
        return True

    def limit(self, patience: float | None) -> float | None:
        """No more seconds than until the moment is over; None stands for ever."""
        return max(0.0, self._until - time.monotonic()) if self._held else patience

    def end_in_time(self) -> None:
        """Let all go on that are held, if the moment is over."""
        if self._held and time.monotonic() >= self._until:
            self.end()

    def end(self) -> None:
        """Let all go on, also those who were taken for ours by mistake."""
        resume(self._held)
        self._held = ()
