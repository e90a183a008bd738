"""What happens to all processes: the latest of it, for any number of readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import attrs

from smartmob_agent.output.cursor import Cursor, MissedError
from smartmob_agent.output.ring import Ring
from smartmob_agent.process.lifecycle import Transition

__all__ = ["Events", "EventsMissedError", "News", "Transition", "TransitionEvent"]

_ITEM_BYTES = 2048
"""What an event costs in memory besides the text of its error, about."""


class EventsMissedError(MissedError):
    """A reader was too slow: the next `count` events, of all processes, are gone.

    It may go on reading with what is left.
    """

    unit = "events"


@attrs.frozen(eq=False, kw_only=True)
class TransitionEvent:
    """A transition, numbered over all processes of an agent."""

    seq: int
    time: datetime
    transition: Transition
    _rendered: dict[Callable[[TransitionEvent], bytes], bytes] = attrs.field(
        factory=dict, init=False, repr=False
    )

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

    def rendered(self, render: Callable[[TransitionEvent], bytes]) -> bytes:
        """Return what `render` makes of it: made once for all readers."""
        if render not in self._rendered:
            self._rendered[render] = render(self)
        return self._rendered[render]


@attrs.frozen(eq=False, kw_only=True)
class News:
    """What has happened to an app, numbered as transitions are.

    kind: `app`, `release` or `rollout`.
    record: the rest of it, as JSON.
    """

    seq: int
    time: datetime
    kind: str
    app: str
    record: Mapping[str, object]

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
        return _ITEM_BYTES

    def since(self, _number: int) -> News:
        """Return the same: there is only one in it."""
        return self


class Events(Ring[TransitionEvent | News]):
    """A bounded ring of transitions.  Publishing never waits and never grows it.

    The first number is that of the milliseconds since 1970: so numbers go on growing when the
    agent is started again, unless it has more than a thousand events a second all its life.

    now: the wall clock, with a time zone.
    observers: are called with each transition at once; they must not raise.
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

    def publish_news(self, kind: str, app: str, record: Mapping[str, object]) -> None:
        """Add what has happened to an app; nothing happens after the end."""
        if not self.ended:
            news = News(seq=self.next_number, time=self._now(), kind=kind, app=app, record=record)
            self._add(news)

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
        wants: Callable[[TransitionEvent | News], bool] | None = None,
    ) -> Cursor[TransitionEvent | News]:
        """Return a reader; without options it begins with the next event.

        after: begin with the event behind this number instead.
        wants: tells which events it gets, if not all.

        Raises `ValueError` when no event of this agent has the number `after`.
        """
        return self._read_on(wants) if after is None else self._read_after(after, wants)
