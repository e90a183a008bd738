"""What a route is: it takes a request and returns an answer; no framework is known here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import attrs

from smartmob_agent.api.links import Links
from smartmob_agent.errors import BodyTooLargeError
from smartmob_agent.http.problems import MEDIA_TYPE

__all__ = ["Answer", "Request", "Route", "json_answer"]


@attrs.frozen(kw_only=True)
class Request:
    """A request, as far as routes look at it.

    slug: from the path, for routes that have one in it.
    query: what is behind the question mark, as it came.
    headers: name in lower case → value.
    links: begin as the client's own request did.
    body: its pieces, which are read once.
    body_bytes: what `read_body` takes.
    abort: cuts the connection.
    """

    slug: str
    query: bytes
    headers: Mapping[str, str]
    request_id: str
    links: Links
    body: AsyncIterator[bytes]
    body_bytes: int
    abort: Callable[[], None]

    async def read_body(self) -> bytes:
        """Read all of the body; raises `BodyTooLargeError`."""
        body = bytearray()
        async for data in self.body:
            body += data
            if len(body) > self.body_bytes:
                raise BodyTooLargeError(self.body_bytes)
        return bytes(body)


@attrs.frozen(kw_only=True)
class Answer:
    """What a client gets.

    body: all of it, or its pieces as they come.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes]
    headers: Mapping[str, str]


@attrs.frozen
class Route:
    """Where a handler is found; a path may have `<slug>` in it.

    The handler may raise `RequestError`, which becomes a problem document.
    """

    method: str
    path: str
    handle: Callable[[Request], Awaitable[Answer]]


def json_answer(
    status: int, document: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Answer:
    """Return a document; with a status from 400 on it is a problem document."""
    media_type = MEDIA_TYPE if status >= 400 else "application/json"
    body = json.dumps(document).encode()
    return Answer(status=status, body=body, headers={"Content-Type": media_type, **(headers or {})})
