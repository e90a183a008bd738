"""What happens to all processes: the latest of it, for any number of readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cached_property

import attrs

from smartmob_agent.child.seam import Exit
from smartmob_agent.output.batch import Record, rfc3339
from smartmob_agent.output.cursor import Cursor, MissedError
from smartmob_agent.output.ring import Ring
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State

__all__ = ["Events", "EventsMissedError", "Transition", "TransitionEvent"]

_ITEM_BYTES = 2048
"""What an event costs in memory besides the text of its error, about."""


class EventsMissedError(MissedError):
    """A reader was too slow: the next `count` events, of all processes, are gone.

    It may go on reading with what is left.
    """

    unit = "events"


@attrs.frozen(kw_only=True)
class Transition:
    """A process has entered a state.

    previous: None when it was created.
    """

    spec: ProcessSpec
    previous: State | None
    state: State
    pid: int | None
    restarts: int
    exit: Exit | None
    error: str | None
    started_at: datetime | None
    next_start_at: datetime | None


@attrs.frozen(kw_only=True, slots=False)
class TransitionEvent:
    """A transition, numbered over all processes of an agent."""

    seq: int
    time: datetime
    transition: Transition

    @property
    def first(self) -> int:
        """Its own number."""
        return self.seq

    @property
    def end(self) -> int:
        """The number of the next event."""
        return self.seq + 1

    @property
    def cost_bytes(self) -> int:
        """Memory that it takes, about."""
        return _ITEM_BYTES + len(self.transition.error or "")

    def since(self, _number: int) -> TransitionEvent:
        """Return the same: there is only one in it."""
        return self

    @property
    def record(self) -> Record:
        """As a JSON object."""
        it = self.transition
        return {
            "seq": self.seq,
            "time": rfc3339(self.time),
            "slug": it.spec.slug,
            "app": it.spec.app,
            "node": it.spec.node,
            "process_type": it.spec.process_type,
            "previous": it.previous and it.previous.value,
            "state": it.state.value,
            "pid": it.pid,
            "restarts": it.restarts,
            "exit": it.exit and it.exit.record,
            "error": it.error,
            "started_at": it.started_at and rfc3339(it.started_at),
            "next_start_at": it.next_start_at and rfc3339(it.next_start_at),
        }

    @cached_property
    def json(self) -> bytes:
        """The record as JSON: made once for all readers."""
        return json.dumps(self.record).encode()


class Events(Ring[TransitionEvent]):
    """A bounded ring of transitions.  Publishing never waits and never grows it.

    The first number is that of the milliseconds since 1970: so numbers go on growing when the
    agent is started again, unless it has more than a thousand events a second all its life.

    now: the wall clock, with a time zone.
    observers: are called with each event at once; they must not raise.
    """

    def __init__(self, max_bytes: int, now: Callable[[], datetime]) -> None:
        super().__init__(max_bytes, first=int(now().timestamp() * 1000))
        self._now = now
        self.observers: list[Callable[[TransitionEvent], None]] = []

    @property
    def last_seq(self) -> int:
        """The number of the latest event; before the first one, what comes before it."""
        return self.next_number - 1

    def publish(self, transition: Transition) -> None:
        """Add a transition, at the cost of the oldest; nothing happens after the end."""
        if self.ended:
            return
        event = TransitionEvent(seq=self.next_number, time=self._now(), transition=transition)
        self._add(event)
        for observe in self.observers:
            observe(event)

    def close(self) -> None:
        """End: readers come to an end when they have read what is left."""
        self._finish()

    def note_missed(self, count: int) -> EventsMissedError:
        """Return the error for a reader whose next events are gone."""
        return EventsMissedError(count)

    def subscribe(
        self,
        *,
        after: int | None = None,
        wants: Callable[[TransitionEvent], bool] | None = None,
    ) -> Cursor[TransitionEvent]:
        """Return a reader; without options it begins with the next event.

        after: begin with the event behind this number instead.
        wants: tells which events it gets, if not all.

        Raises `ValueError` when no event of this agent has the number `after`.
        """
        return self._read_on(wants) if after is None else self._read_after(after, wants)
