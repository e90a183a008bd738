"""A spawner and a fetcher that count what they do."""

from __future__ import annotations

import attrs
import trio

from smartmob_agent.child.seam import Child, Command, Spawner
from smartmob_agent.errors import SpawnError
from smartmob_agent.histogram import Histogram
from smartmob_agent.source.download.seam import Fetched, Fetcher, FetchRequest, Progress

__all__ = ["Downloads", "MeteredFetcher", "MeteredSpawner", "Outcome", "Spawns"]

_SPAWN_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
"""Seconds: 2 ms are usual, 10 s are the limit."""
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
