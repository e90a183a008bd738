"""From a console to one WebSocket, in as few steps as its server allows."""

from __future__ import annotations

import json
from collections.abc import Mapping

import trio

from smartmob_agent.http.asgi import Scope, Send
from smartmob_agent.http.extensions import FRAMES_MESSAGE, get_write_now
from smartmob_agent.output.batch import Batch, Event, Frames, Record
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.output.frames import text_frames
from smartmob_agent.output.log.log_cursor import LogCursor

__all__ = ["ConsoleSender"]

_CLOSES: Mapping[ConsoleEnd, tuple[int, str]] = {
    ConsoleEnd.PROCESS: (1000, "the process was deleted"),
    ConsoleEnd.AGENT: (1001, "the agent stops"),
}
"""RFC 6455, section 7.4.1."""
_TRY_AGAIN_LATER = 1013
"""From the IANA registry "WebSocket Close Code Number"."""

Item = Batch | Event


class ConsoleSender:
    """Sends what a cursor comes to.

    Its server takes frames that are ready to be written: see `http.extensions`.

    records: send records of lines and events, as JSON, in place of bare lines.
    history: comes first, if it is not None; then `cursor` is that which it hands over.
    """

    def __init__(
        self,
        console: Console,
        cursor: Cursor[Batch | Event],
        scope: Scope,
        send: Send,
        *,
        records: bool,
        history: LogCursor | None = None,
    ) -> None:
        self._console, self._cursor, self._send = console, cursor, send
        self._json = records
        self._write_now = write_now = get_write_now(scope)
        self._sink = None if write_now is None else self._take
        self._begun = False
        self._history = history

    async def run(self) -> tuple[int, str]:
        """Send until there is a reason to close; return its code and text.

        If cancelled: what was begun to be sent may be cut.
        """
        if self._history is not None:
            try:
                await self._catch_up(self._history)
            except LinesMissedError as exc:
                return _TRY_AGAIN_LATER, f"too slow: {exc}"
        while True:
            await trio.lowlevel.checkpoint()  # `send` is none once the client has gone.
            try:
                item = self._cursor.receive_nowait()
            except LinesMissedError as exc:
                if not self._json:
                    return _TRY_AGAIN_LATER, f"too slow: {exc}"
                await self._send_record({"event": "dropped", "lines": exc.lines})
                continue
            if item is None:
                if self._console.end is not None:
                    return await self._finish(self._console.end)
                await self._cursor.wait(self._sink)
            elif not self._take(item):
                item = None  # A client that is stuck holds no more than what it is being sent.
                await self._send_frames(self._next_frames())

    async def _catch_up(self, history: LogCursor) -> None:
        """Send what is on the disk; a gap is told, or raised where only bare lines are sent."""
        await history.start()
        while not history.is_live:
            try:
                item = await history.receive()
            except LinesMissedError as exc:
                if not self._json:
                    raise
                await self._send_record({"event": "dropped", "lines": exc.lines})
            else:
                await self._send_item(item)
        self._cursor = history.hand_over()

    async def _send_item(self, item: Item) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            frames = self._frames(item)
            for data in frames.data:
                await self._send_frames(data)
            if not frames.ends or frames.ends[-1] >= item.end:
                return
            item = item.since(frames.ends[-1])

    async def _finish(self, end: ConsoleEnd) -> tuple[int, str]:
        if self._json:
            await self._send_record({"event": "end", "reason": end.value})
        return _CLOSES[end]

    async def _send_frames(self, frames: bytes) -> None:
        await self._send({"type": FRAMES_MESSAGE, "frames": frames})

    async def _send_record(self, record: Record) -> None:
        await self._send_frames(text_frames([json.dumps(record).encode()]))

    def _frames(self, item: Item) -> Frames:
        return item.json_frames if self._json else item.frames

    def _take(self, item: Item) -> bool:
        """Write an item at once, as far as the socket takes it; put back the rest.

        Also the sink of the cursor: then no task is woken for it.
        """
        frames = self._frames(item)
        taken = 0 if self._write_now is None else self._write_now(frames.data)
        if taken == len(frames.data) and (not taken or frames.ends[-1] == item.end):
            return True
        self._cursor.put_back(frames.ends[taken - 1] if taken else item.first)
        self._begun = self._begun or taken > 0
        return False

    def _next_frames(self) -> bytes:
        """Return what is to be waited for: first the end of what `_take` began."""
        if self._begun:
            self._begun = False
            return b""
        item = self._cursor.receive_nowait()
        assert item is not None  # noqa: S101  # It was put back just now.
        frames = self._frames(item)
        if frames.ends[0] < item.end:
            self._cursor.put_back(frames.ends[0])
        return frames.data[0]
