"""Requests by hypercorn's `HTTPStream`, with what it lacks.  See `protocol.py`."""

from __future__ import annotations

from math import inf
from typing import Any, Protocol

import trio
from hypercorn.protocol.events import Body, EndBody, Event
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream

from smartmob_agent.config.settings import HttpLimits
from smartmob_agent.http.body_limits import BodyLimits
from smartmob_agent.http.exchange import PROCEED
from smartmob_agent.http.problems import Refusal, plain_refusal
from smartmob_agent.http.protocol.transport import Transport

__all__ = ["RequestStream", "StreamOwner"]


class StreamOwner(Protocol):
    """What a stream needs of its protocol."""

    limits: HttpLimits
    wire: Transport

    async def answer(self, refusal: Refusal) -> None:
        """Send a problem document, if no answer has begun."""
        ...

    async def refuse(self, refusal: Refusal) -> None:
        """Do so in the place of the application, and end the connection."""
        ...

    async def proceed(self) -> None:
        """Let a client go on that waits for our consent to send its body."""
        ...


class RequestStream(HTTPStream):
    """A request, whose body is counted; errors are problem documents."""

    def __init__(self, *common: Any, owner: StreamOwner, limits: BodyLimits) -> None:
        super().__init__(*common)
        self._owner = owner
        self._limits = limits
        self._deadline = trio.current_time() + limits.total_timeout
        self._body_bytes = 0

    def wait_body(self) -> None:
        """From now on the peer has its time for the next piece of the body."""
        idle = trio.current_time() + self._limits.idle_timeout
        self._owner.wire.read_until(min(idle, self._deadline))

    async def handle(self, event: Event) -> None:
        if isinstance(event, Body):
            limit = self._limits.size_bytes
            self._body_bytes += len(event.data)
            if self._body_bytes > limit:
                refusal = Refusal(413, f"expected a body of at most {limit} bytes")
                await self._owner.refuse(refusal)
                return
        elif isinstance(event, EndBody):
            self._owner.wire.read_until(inf)
        await super().handle(event)

    async def app_send(self, message: Any) -> None:
        if message is not None and message["type"] == PROCEED:
            await self._owner.proceed()
        else:
            await super().app_send(message)

    async def _send_error_response(self, status_code: int) -> None:
        self.state = ASGIHTTPState.CLOSED
        await self._owner.answer(plain_refusal(status_code))
