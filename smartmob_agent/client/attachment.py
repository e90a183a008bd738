"""The console of a process as records, from its attach WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from smartmob_agent.client.feed import Feed
from smartmob_agent.client.identity import Identity, path_of, run_with_reconnects
from smartmob_agent.client.log import first_line
from smartmob_agent.client.network import Requests, Sockets
from smartmob_agent.client.progress import RecordProgress
from smartmob_agent.client.reconnect import ReconnectBackoff
from smartmob_agent.client.records import Event, Line, Record, parse_record

__all__ = ["Attachment", "AttachmentReader"]

Take = Callable[[Record], Awaitable[None]]


class AttachmentReader:
    """Reads records until the end of the console, across lost connections.

    tail: start with this many of the last lines; None means all.
    after: start with the line after this number instead.
    stream: only lines of this one, if not None.
    """

    def __init__(
        self,
        requests: Requests,
        sockets: Sockets,
        slug: str,
        *,
        tail: int | None,
        after: int | None,
        stream: str | None,
        backoff: ReconnectBackoff,
    ) -> None:
        self._requests = requests
        self._sockets = sockets
        self._slug = slug
        self._stream = stream
        self._tail = tail
        self._after = after
        self._identity = Identity(requests, slug)
        self._progress = RecordProgress()
        self._backoff = backoff

    async def run(self, take: Take) -> None:
        """Pass on all records; the last one is the event `end`."""
        await self._identity.learn()
        self._progress.begin(self._after + 1 if self._after is not None else await self._find(), 0)

        async def attempt() -> None:
            await self._read(take)

        await run_with_reconnects(attempt, self._identity.check, self._backoff)

    async def _find(self) -> int:
        """Return the number of the first line, which a WebSocket may be lost before it sends."""
        path = path_of("process-log", self._slug)
        answer = await self._requests.request("HEAD", path, query={"tail": self._tail})
        first, _missed = first_line(answer.headers)
        return first

    async def _read(self, take: Take) -> None:
        """Read from one connection."""
        query = {"format": "json", "after": self._progress.last, "stream": self._stream}
        async with self._sockets.open(path_of("attach-console", self._slug), query) as socket:
            self._progress.begin(self._progress.last + 1, 0)
            self._backoff.connected()
            while True:
                data = self._progress.feed((await socket.receive()).encode() + b"\n")
                if not data:
                    continue  # It came before the connection was lost.
                self._backoff.received()
                record = parse_record(data)
                await take(record)
                if isinstance(record, Event) and record.name == "end":
                    return


class Attachment(Feed[Line]):
    """The lines of a process, with `async for`, until it is deleted or the agent stops.

    lost_lines: how many lines the agent dropped because the reader was too slow.
    end: why the lines ended: `process` or `agent`; None before the end.
    """

    def __init__(self, nursery: trio.Nursery, reader: AttachmentReader) -> None:
        super().__init__(nursery, self._lines)
        self._reader = reader
        self.lost_lines = 0
        self.end: str | None = None

    async def _lines(self, send: trio.MemorySendChannel[Line]) -> None:
        async def take(record: Record) -> None:
            if isinstance(record, Line):
                await send.send(record)
            elif record.name == "dropped":
                self.lost_lines += int(record.fields["lines"])
            elif record.name == "end":
                self.end = str(record.fields["reason"])

        await self._reader.run(take)
