"""From a console to one WebSocket, in as few steps as its server allows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import trio

from smartmob_agent.http.asgi import Scope, Send
from smartmob_agent.output.batch import Batch, Event, Record
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.output.frames import text_frames

__all__ = ["FRAMES_EXTENSION", "WRITE_EXTENSION", "ConsoleSender"]

FRAMES_EXTENSION = "smartmob.frames"
"""The server takes the message `websocket.send.frames`: frames ready to write."""
WRITE_EXTENSION = "smartmob.write_now"
"""A function, once accepted: writes what the socket takes of frames, returns how many bytes."""

_CLOSES: Mapping[ConsoleEnd, tuple[int, str]] = {
    ConsoleEnd.PROCESS: (1000, "the process was deleted"),
    ConsoleEnd.AGENT: (1001, "the agent stops"),
}
"""RFC 6455, section 7.4.1."""
_TRY_AGAIN_LATER = 1013
"""From the IANA registry "WebSocket Close Code Number"."""

Item = Batch | Event
Frames = bytes | memoryview


class ConsoleSender:
    """Sends what a cursor comes to.

    records: send records of lines and events, as JSON, in place of bare lines.
    """

    def __init__(
        self,
        console: Console,
        cursor: Cursor[Batch | Event],
        scope: Scope,
        send: Send,
        *,
        records: bool,
    ) -> None:
        self._console, self._cursor, self._send = console, cursor, send
        self._json = records
        self._framed = FRAMES_EXTENSION in scope["extensions"]
        self._write_now: Callable[[bytes], int] | None = scope["extensions"].get(WRITE_EXTENSION)
        self._rest: Frames = b""

    async def run(self) -> tuple[int, str]:
        """Send until there is a reason to close; return its code and text.

        If cancelled: what was begun to be sent may be cut.
        """
        while True:
            await trio.lowlevel.checkpoint()  # `send` is none once the client has gone.
            if self._rest:
                await self._send_rest()
            try:
                item = self._cursor.receive_nowait()
            except LinesMissedError as exc:
                if not self._json:
                    return _TRY_AGAIN_LATER, f"too slow: {exc}"
                await self._send_record({"event": "dropped", "lines": exc.lines})
                continue
            if item is not None and self._framed:
                # A client that is stuck holds no more than what it is being sent.
                self._rest, item = self._frames(item), None
            elif item is not None:
                await self._send_texts(item)
            elif self._console.end is not None:
                return await self._finish(self._console.end)
            else:
                await self._cursor.wait(self._take if self._write_now else None)

    async def _finish(self, end: ConsoleEnd) -> tuple[int, str]:
        if self._json:
            await self._send_record({"event": "end", "reason": end.value})
        return _CLOSES[end]

    async def _send_texts(self, item: Item) -> None:
        for text in self._texts(item):
            await self._send({"type": "websocket.send", "text": text})

    async def _send_rest(self) -> None:
        message = {"type": "websocket.send.frames", "frames": self._rest}
        self._rest = b""
        await self._send(message)

    async def _send_record(self, record: Record) -> None:
        text = json.dumps(record)
        if self._framed:
            self._rest = text_frames([text.encode()])
            await self._send_rest()
        else:
            await self._send({"type": "websocket.send", "text": text})

    def _frames(self, item: Item) -> bytes:
        if self._json:
            return item.json_frames
        return item.frames if isinstance(item, Batch) else b""

    def _texts(self, item: Item) -> Iterator[str]:
        if self._json:
            yield from map(json.dumps, item.records)
        elif isinstance(item, Batch):
            yield from (line.decode() for line in item.lines)

    def _take(self, item: Item) -> bool:
        """Write an item in the moment that it is published, without waking any task."""
        if self._rest or self._write_now is None:
            return False
        frames = self._frames(item)
        written = self._write_now(frames)
        if written < len(frames):
            self._rest = memoryview(frames)[written:]  # Shared with whoever is stuck there too.
            self._cursor.wake()
        return True
