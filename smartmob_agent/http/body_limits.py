"""What the body of a request may cost: little, but on some routes.  Pure."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from smartmob_agent.config.settings import HttpLimits

__all__ = ["Bodies", "BodyLimits"]


@attrs.frozen(kw_only=True)
class BodyLimits:
    """The limits of one body.

    idle_timeout: seconds until its next piece.
    total_timeout: seconds for all of it.
    """

    size_bytes: int
    idle_timeout: float
    total_timeout: float


class Bodies:
    """The limits of all bodies.

    routes: method and path of each route that has limits of its own.
    """

    def __init__(
        self, limits: HttpLimits, routes: Mapping[tuple[str, str], BodyLimits] | None = None
    ) -> None:
        self._routes = dict(routes or {})
        self._others = BodyLimits(
            size_bytes=limits.body_bytes,
            idle_timeout=limits.body_timeout,
            total_timeout=limits.body_timeout,
        )

    def limits_of(self, method: str, target: bytes) -> BodyLimits:
        """Return the limits for a method and a target in the form of a path."""
        path = target.partition(b"?")[0].decode("latin-1")
        return self._routes.get((method, path), self._others)
