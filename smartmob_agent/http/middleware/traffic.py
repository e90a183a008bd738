"""Requests by route, and who is attached to which console."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from smartmob_agent.histogram import Histogram

__all__ = ["CountedRequest", "Traffic"]

_BOUNDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""Seconds."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_OTHER = "other"
"""Stands for every method and path that no route has: clients could make up any number."""
_SLUG = "<slug>"
_PARTS = 3
"""Of a path with something behind its slug, at least."""

Key = tuple[str, str, str]
"""Route, method and status; the status is empty if the client left before it was known."""


class Traffic:
    """Counts requests; a WebSocket is one, too.

    requests: their kind → seconds from the head of the request to the end of the answer.
    open: route → requests under way.
    attached: slug → WebSockets on its console.
    """

    def __init__(self) -> None:
        self.requests: dict[Key, Histogram] = {}
        self.open: Counter[str] = Counter()
        self.attached: Counter[str] = Counter()
        self._exact: set[str] = set()
        self._with_slug: set[str] = set()

    def add_routes(self, paths: Iterable[str]) -> None:
        """Let requests be told apart by these paths, which may have `<slug>` in them."""
        for path in paths:
            if _SLUG in path:
                self._with_slug.add(path)
            else:
                self._exact.add(path)

    def begin(self, method: str, path: str) -> CountedRequest:
        """A request has come; call `end` when its answer is complete, or will never be."""
        route, slug = self._split(path)
        self.open[route] += 1
        method = method if method in _METHODS else _OTHER
        return CountedRequest(traffic=self, route=route, slug=slug, method=method)

    def _split(self, path: str) -> tuple[str, str]:
        if path in self._exact:
            return path, ""
        # At the end of the path, or right behind its first part.
        parent, slash, slug = path.rpartition("/")
        if slug and (route := f"{parent}{slash}{_SLUG}") in self._with_slug:
            return route, slug
        parts = path.split("/")
        if len(parts) > _PARTS and parts[2]:
            slug, parts[2] = parts[2], _SLUG
            if (route := "/".join(parts)) in self._with_slug:
                return route, slug
        return _OTHER, ""


@attrs.define(eq=False, kw_only=True)
class CountedRequest:
    """A request that is under way."""

    _traffic: Traffic
    _route: str
    _slug: str
    _method: str
    _attached: bool = False

    def attach(self) -> None:
        """It is a WebSocket that was accepted."""
        self._attached = True
        self._traffic.attached[self._slug] += 1

    def end(self, status: int | None, seconds: float) -> None:
        """Count it."""
        traffic = self._traffic
        traffic.open[self._route] -= 1
        if self._attached:
            traffic.attached[self._slug] -= 1
            if not traffic.attached[self._slug]:
                del traffic.attached[self._slug]
        key = (self._route, self._method, "" if status is None else str(status))
        if key not in traffic.requests:
            traffic.requests[key] = Histogram(_BOUNDS)
        traffic.requests[key].observe(seconds)
