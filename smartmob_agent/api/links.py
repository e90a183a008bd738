"""Absolute URLs of what an agent has to offer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import attrs

__all__ = ["SLUG", "LinkTarget", "Links"]

SLUG = "<slug>"
"""In the path of a route that is about one process, or one app."""


@attrs.frozen(kw_only=True)
class LinkTarget:
    """Where a link to a route goes.

    path: as routes have it.
    socket: by WebSocket.
    relation: names the link in the index; empty if it is not there.  RFC 8288, section 2.1.
    media_type: of what is there; empty if there is nothing to read.
    """

    path: str
    socket: bool = False
    relation: str = ""
    media_type: str = ""


@attrs.frozen(slots=False)
class Links:
    """Absolute URLs of operations.

    base: where clients find the agent, without a slash at the end.
    targets: operation → where it is.
    """

    base: str
    targets: Mapping[str, LinkTarget]

    def to(self, operation: str, slug: str = "") -> str:
        """Return the URL of an operation; those of WebSockets begin with ws or wss."""
        before, after = self._parts[operation]
        return f"{before}{slug}{after}"

    @property
    def header(self) -> str:
        """All that have a relation, as the header `Link` has them: RFC 8288, section 3."""
        related = sorted(
            (target.relation, operation, target.media_type)
            for operation, target in self.targets.items()
            if target.relation
        )
        return ", ".join(
            f'<{self.to(operation)}>; rel="{relation}"'
            + (f'; type="{media_type}"' if media_type else "")
            for relation, operation, media_type in related
        )

    @cached_property
    def _parts(self) -> Mapping[str, tuple[str, str]]:
        """Operation → what is before and behind the slug in its URL."""
        socket_base = f"ws{self.base.removeprefix('http')}"  # http → ws, https → wss
        found = {}
        for operation, target in self.targets.items():
            before, _, after = target.path.partition(SLUG)
            found[operation] = (f"{socket_base if target.socket else self.base}{before}", after)
        return found
