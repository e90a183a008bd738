"""What can be told of an operation of the HTTP API.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from smartmob_agent.api.query import QueryOption

__all__ = ["JSON", "Body", "Operation", "Reply"]

JSON = "application/json"


@attrs.frozen(kw_only=True)
class Body:
    """The body of a request.  Its Content-Type does not matter: this is the one to send."""

    schema: Mapping[str, Any]
    media_type: str = JSON
    required: bool = True


@attrs.frozen
class Reply:
    """An answer that is none of the problems.

    content: media type → schema.
    headers: names of those that it has besides the id of the request.
    links: operation → parameter of it → where in this answer its value is.
    """

    about: str
    content: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    headers: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    links: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict, kw_only=True)


@attrs.frozen(kw_only=True)
class Operation:
    """What one method does at one path.

    query, headers: what may be given.
    problems: names of those that it may answer with, beside the ones that any may.
    """

    id: str
    tag: str
    summary: str
    about: str = ""
    query: Mapping[str, QueryOption] = attrs.field(factory=dict)
    headers: Mapping[str, QueryOption] = attrs.field(factory=dict)
    body: Body | None = None
    replies: Mapping[int, Reply]
    problems: tuple[str, ...] = ()
