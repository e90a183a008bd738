"""What was read of the trees of processes, kept until it is read again."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

import attrs

from smartmob_agent.metrics.tree_usage import Usage

__all__ = ["Usages"]

KeyT = TypeVar("KeyT", bound=Hashable)


@attrs.define(eq=False)
class _Clock:
    """The processor time of all children of a process, which never goes back.

    A member that ends while its tree is read may be missing for once, and who ignores SIGCHLD
    loses the time of its children: Prometheus would take less than before for a new beginning.
    """

    starts: int = 0
    _before: float = 0.0
    _now: float = 0.0

    def set(self, starts: int, seconds: float) -> None:
        if starts != self.starts:
            self.starts, self._before, self._now = starts, self.total, 0.0
        self._now = max(self._now, seconds)

    @property
    def total(self) -> float:
        return self._before + self._now


class Usages(Generic[KeyT]):
    """Usage by process, which may be anything that has an identity."""

    def __init__(self) -> None:
        self._latest: dict[KeyT, Usage] = {}
        self._clocks: dict[KeyT, _Clock] = {}
        self._read_at = -math.inf

    def age(self, now: float) -> float:
        """Seconds since the last reading."""
        return now - self._read_at

    def update(self, usages: Mapping[KeyT, Usage], starts: Mapping[KeyT, int], now: float) -> None:
        """Take a reading.

        usages: process → what its tree uses; those without a tree are left out.
        starts: process → which of its children that is.
        """
        self._read_at = now
        self._latest = dict(usages)
        for process, usage in usages.items():
            self._clocks.setdefault(process, _Clock()).set(starts[process], usage.cpu_seconds)

    def keep(self, processes: Iterable[KeyT]) -> None:
        """Forget all but these."""
        self._clocks = {key: self._clocks[key] for key in processes if key in self._clocks}

    def latest(self, process: KeyT) -> Usage | None:
        """What its tree used at the last reading."""
        return self._latest.get(process)

    def cpu_seconds(self, process: KeyT) -> float | None:
        """Of all its children; None if none was read."""
        clock = self._clocks.get(process)
        return None if clock is None else clock.total
