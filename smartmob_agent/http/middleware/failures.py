"""How often someone may fail: a bounded memory of failures, pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv6Address, ip_address, ip_network

__all__ = ["FailureLimit"]

_HOSTS = 10_000
"""So many addresses are remembered; the one that was quiet for longest is forgotten first."""
_INTERVAL = 60.0


class FailureLimit:
    """At most `limit` failures in 60 seconds from one address, or from one /64 of IPv6.

    now: seconds on any clock that does not go back.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, host: str, now: float) -> float:
        """Return the seconds that a host has to wait until it may try again; mostly 0."""
        times = self._failures.get(_group(host))
        if times is None:
            return 0.0
        while times and times[0] <= now - _INTERVAL:
            times.popleft()
        return times[0] + _INTERVAL - now if len(times) >= self._limit else 0.0

    def fail(self, host: str, now: float) -> None:
        """Note a failure."""
        group = _group(host)
        self._failures.setdefault(group, deque(maxlen=self._limit)).append(now)
        self._failures.move_to_end(group)
        if len(self._failures) > _HOSTS:
            self._failures.popitem(last=False)


def _group(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return host
