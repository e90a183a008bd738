"""What becomes of processes, all together: starts, exits and delays."""

from __future__ import annotations

from collections import Counter

import attrs

from smartmob_agent.histogram import Histogram
from smartmob_agent.process.events import Transition, TransitionEvent
from smartmob_agent.process.states import State

__all__ = ["Lives"]

_DELAY_BOUNDS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds: the steps of the backoff, and 0 for a start without delay."""


@attrs.define(eq=False)
class Lives:
    """Counts the steps of all processes; it outlives each of them.

    starts: children that were started.
    exits: code and name of the signal, one of which is empty → children that ended so.
    delays: seconds by which starts were put off.
    """

    starts: int = 0
    exits: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    delays: Histogram = attrs.field(factory=lambda: Histogram(_DELAY_BOUNDS))
    _running: set[str] = attrs.field(factory=set)

    def observe(self, event: TransitionEvent) -> None:
        """Count a step: an observer of `Events`."""
        step = event.transition
        if step.state is State.RUNNING:
            self.starts += 1
            self._running.add(step.spec.slug)
        elif step.pid is None:
            self._note_exit(step)
        if step.state is State.BACKOFF and step.next_start_at is not None:
            # It was set a moment before the event, so no delay would be less than none.
            self.delays.observe(max((step.next_start_at - event.time).total_seconds(), 0.0))
        elif step.state is State.GONE:
            self._running.discard(step.spec.slug)  # What is stuck has not ended, and never will.

    def _note_exit(self, step: Transition) -> None:
        """Count the exit of a child once: it is told again with each later step."""
        if step.spec.slug in self._running and step.exit is not None:
            self._running.remove(step.spec.slug)
            code = "" if step.exit.code is None else str(step.exit.code)
            self.exits[code, step.exit.signal_name or ""] += 1
