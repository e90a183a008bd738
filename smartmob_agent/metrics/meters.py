"""What counts while the agent runs: a spawner, a fetcher, and an observer of processes."""

from __future__ import annotations

from collections import Counter

import attrs
import trio

from smartmob_agent.child.seam import Child, Command, Spawner
from smartmob_agent.errors import SpawnError
from smartmob_agent.histogram import Histogram
from smartmob_agent.process.events import Transition, TransitionEvent
from smartmob_agent.process.states import State
from smartmob_agent.source.download.seam import Fetched, Fetcher, FetchRequest, Progress

__all__ = ["Downloads", "Lives", "MeteredFetcher", "MeteredSpawner", "Outcome", "Spawns"]

_SPAWN_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
"""Seconds: 2 ms are usual, 10 s are the limit."""
_DELAY_BOUNDS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds: the steps of the backoff, and 0 for a start without delay."""
_DOWNLOAD_BOUNDS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""Seconds: up to the limit."""

Outcome = str
"""`fetched`, `unchanged` (it is in the cache), `failed` or `cancelled`."""
OUTCOMES = ("fetched", "unchanged", "failed", "cancelled")


@attrs.define(eq=False)
class Spawns:
    """What a `MeteredSpawner` has done.

    seconds: from the request for a child until it ran.
    failures: children that could not be started.
    """

    seconds: Histogram = attrs.field(factory=lambda: Histogram(_SPAWN_BOUNDS))
    failures: int = 0


@attrs.frozen(eq=False)
class MeteredSpawner:
    """A spawner that is measured."""

    _spawner: Spawner
    _spawns: Spawns

    @property
    def containment(self) -> str:
        return self._spawner.containment

    @property
    def unlimited(self) -> frozenset[str]:
        return self._spawner.unlimited

    async def spawn(self, command: Command) -> Child:
        """See `Spawner.spawn`."""
        began = trio.current_time()
        try:
            child = await self._spawner.spawn(command)
        except SpawnError:
            self._spawns.failures += 1
            raise
        self._spawns.seconds.observe(trio.current_time() - began)
        return child


@attrs.define(eq=False)
class Downloads:
    """What a `MeteredFetcher` has done.

    seconds: outcome → how long it took, with the tries to go on.
    received_bytes: of archives, whole or not.
    """

    seconds: dict[Outcome, Histogram] = attrs.field(
        factory=lambda: {outcome: Histogram(_DOWNLOAD_BOUNDS) for outcome in OUTCOMES}
    )
    received_bytes: int = 0


@attrs.frozen(eq=False)
class MeteredFetcher:
    """A fetcher that is measured."""

    _fetcher: Fetcher
    _downloads: Downloads

    async def fetch(self, request: FetchRequest) -> Fetched | None:
        """See `Fetcher.fetch`."""
        began, outcome = trio.current_time(), "failed"
        try:
            fetched = await self._fetcher.fetch(
                attrs.evolve(request, progress=self._counting(request.progress))
            )
            outcome = "unchanged" if fetched is None else "fetched"
        except trio.Cancelled:
            outcome = "cancelled"
            raise
        finally:
            self._downloads.seconds[outcome].observe(trio.current_time() - began)
        return fetched

    def _counting(self, progress: Progress) -> Progress:
        """Count what comes.  The first call tells where a download begins or goes on, and one
        with less than before that it has begun anew.
        """
        last: list[int] = []

        def count(received: int, total: int | None) -> None:
            if last:
                self._downloads.received_bytes += max(received - last.pop(), 0)
            last.append(received)
            progress(received, total)

        return count


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
        if step.state is step.previous is State.RUNNING:
            return  # It is about readiness.
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
