"""Requests by hypercorn's `HTTPStream`, with what it lacks.  See `protocol.py`."""

from __future__ import annotations

from math import inf
from typing import Any, Protocol

from hypercorn.protocol.events import Body, EndBody, Event
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream

from smartmob_agent.config import HttpLimits
from smartmob_agent.http.refusals import Refusal, plain_refusal
from smartmob_agent.http.wire import Wire

__all__ = ["RequestStream", "StreamOwner"]


class StreamOwner(Protocol):
    """What a stream needs of its protocol."""

    limits: HttpLimits
    wire: Wire

    async def answer(self, refusal: Refusal) -> None:
        """Send a problem document, if no answer has begun."""
        ...

    async def refuse(self, refusal: Refusal) -> None:
        """Do so in the place of the application, and end the connection."""
        ...


class RequestStream(HTTPStream):
    """A request, whose body is counted; errors are problem documents."""

    def __init__(self, *common: Any, owner: StreamOwner) -> None:
        super().__init__(*common)
        self._owner = owner
        self._body_bytes = 0

    async def handle(self, event: Event) -> None:
        if isinstance(event, Body):
            limit = self._owner.limits.body_bytes
            self._body_bytes += len(event.data)
            if self._body_bytes > limit:
                refusal = Refusal(413, f"expected a body of at most {limit} bytes")
                await self._owner.refuse(refusal)
                return
        elif isinstance(event, EndBody):
            self._owner.wire.read_until(inf)
        await super().handle(event)

    async def _send_error_response(self, status_code: int) -> None:
        self.state = ASGIHTTPState.CLOSED
        await self._owner.answer(plain_refusal(status_code))
