"""How often something took how long: plain numbers, cheap to count and to copy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import attrs

__all__ = ["Distribution", "Histogram"]


@attrs.frozen
class Distribution:
    """A histogram at one moment.

    bounds: of the buckets, upwards; each value is in all buckets whose bound it does not exceed.
    counts: values in each bucket, and, at the end, all values.
    total: the sum of all values.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


class Histogram:
    """Counts values in buckets.

    bounds: as in `Distribution`.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    @property
    def now(self) -> Distribution:
        """What was counted so far."""
        return Distribution(self._bounds, tuple(accumulate(self._counts)), self._total)
