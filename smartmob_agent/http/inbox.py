"""What a client sent, on its way to the application."""

from __future__ import annotations

from collections import deque

import trio

from smartmob_agent.http.asgi import Message

__all__ = ["Inbox"]

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
