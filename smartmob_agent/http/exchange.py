"""One call of the application: a request or a WebSocket, from its scope to its end."""

from __future__ import annotations

import logging
from collections import deque

import attrs
import trio

from smartmob_agent.http.asgi import App, Message, Scope, Send

__all__ = ["PROCEED", "Exchange", "Inbox", "log_failure"]

logger = logging.getLogger(__name__)

PROCEED = "smartmob.proceed"
"""The type of the message that tells the protocol: the application wants the body."""

_MESSAGES = 4
"""So many wait in memory, each of them no larger than one read or one WebSocket message."""


class Inbox:
    """A bounded queue of ASGI messages with one last message, which is never kept waiting.

    A reader that does not read stops the writer, but it cannot stop `end`: the news that the
    client is gone always arrives.
    """

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._last: Message | None = None
        self._unwanted = False
        self._room = trio.lowlevel.ParkingLot()
        self._arrivals = trio.lowlevel.ParkingLot()

    async def put(self, message: Message) -> None:
        """Add a message, once there is room; it is dropped when nobody will read it."""
        while len(self._messages) >= _MESSAGES and not self._unwanted:
            await self._room.park()
        if not self._unwanted:
            self._messages.append(message)
            self._arrivals.unpark()

    def discard(self) -> None:
        """Drop what comes from now on, and let the writer go."""
        self._unwanted = True
        self._room.unpark_all()

    def end(self, last: Message) -> None:
        """Give `last` to all who ask for more than what waits here."""
        self.discard()
        self._last = last
        self._arrivals.unpark_all()

    async def get(self) -> Message:
        """Return the next message; after the end the last one, as often as asked."""
        while not self._messages:
            if self._last is not None:
                await trio.lowlevel.checkpoint()
                return self._last
            await self._arrivals.park()
        await trio.lowlevel.checkpoint()
        self._room.unpark()
        return self._messages.popleft()


@attrs.define(eq=False, kw_only=True)
class Exchange:
    """The application at work for one request or WebSocket.

    put, answer: the two directions of the stream of the protocol; `answer(None)` says that the
    application has returned.
    grace: seconds that the application has after the news that its client is gone; then it is
    cancelled, even if it did not listen.
    """

    app: App
    scope: Scope
    answer: Send
    peer: str
    grace: float
    inbox: Inbox = attrs.field(factory=Inbox)
    _running: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _over: bool = False
    _reading: bool = False

    async def put(self, message: Message) -> None:
        """Pass on what the client sent; waits while the application does not read."""
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self.end(message)
        else:
            await self.inbox.put(message)

    def end(self, message: Message) -> None:
        """Tell the application that its client is gone, or has its whole answer."""
        if not self._over:
            self._over = True
            self.inbox.end(message)
            self._running.deadline = trio.current_time() + self.grace

    async def send(self, message: Message) -> None:
        """ASGI `send`; once the client is gone, or has its whole answer, it never returns.

        Bounded: the application is cancelled after `grace`.  An error would have to be told
        apart from real ones by every handler, and a return would keep a sender busy.
        """
        if self._over:
            await trio.sleep_forever()
        # The end of the exchange makes quart-trio cancel the handler that is in here: what
        # follows that news, the timer for the next request, must not be a checkpoint.
        await self.answer(message)
        if message["type"] == "websocket.close":
            self.inbox.discard()

    async def receive(self) -> Message:
        """ASGI `receive`."""
        if not self._reading and self.scope["type"] == "http":
            self._reading = True
            await self.answer({"type": PROCEED})
        return await self.inbox.get()

    async def run(self) -> None:
        """Call the application; what it raises is logged and ends this call only."""
        try:
            with self._running:
                await self.app(self.scope, self.receive, self.send)
        except* Exception as group:  # noqa: BLE001 -- the boundary of one client
            log_failure(logger, "handler failed", group, self.peer)
        self.inbox.discard()
        await self.answer(None)


def log_failure(
    to: logging.Logger, event: str, group: BaseExceptionGroup[BaseException], peer: str
) -> None:
    """Log an error once, with its traceback and the address of the client that caused it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    to.error(event, exc_info=error, extra={"peer": peer})
