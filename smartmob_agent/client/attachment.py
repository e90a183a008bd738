"""The console of a process as records, by its attach socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from smartmob_agent.client.feed import Feed
from smartmob_agent.client.identity import Identity, over_connections, path_of
from smartmob_agent.client.log import first_line
from smartmob_agent.client.network import Requests, Sockets
from smartmob_agent.client.progress import RecordProgress
from smartmob_agent.client.reconnect import Patience
from smartmob_agent.client.records import Event, Line, Record, parse_record

__all__ = ["Attachment", "AttachmentReader"]

Take = Callable[[Record], Awaitable[None]]


class AttachmentReader:
    """Reads records until the end of the console, over lost connections.

    tail: begin with so many of the last lines, or None with all that there are.
    after: begin with the line behind this number instead.
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
        patience: Patience,
    ) -> None:
        self._requests = requests
        self._sockets = sockets
        self._slug = slug
        self._stream = stream
        self._tail = tail
        self._after = after
        self._identity = Identity(requests, slug)
        self._progress = RecordProgress()
        self._patience = patience

    async def run(self, take: Take) -> None:
        """Hand on all records; the last one is the event `end`."""
        await self._identity.learn()
        self._progress.begin(self._after + 1 if self._after is not None else await self._find(), 0)

        async def attempt() -> None:
            await self._read(take)

        await over_connections(attempt, self._identity.check, self._patience)

    async def _find(self) -> int:
        """Return the number of the first line, which a socket that is lost may not have said."""
        path = path_of("process-log", self._slug)
        answer = await self._requests.request("HEAD", path, query={"tail": self._tail})
        first, _missed = first_line(answer.headers)
        return first

    async def _read(self, take: Take) -> None:
        """Read by one connection."""
        query = {"format": "json", "after": self._progress.last, "stream": self._stream}
        async with self._sockets.open(path_of("attach-console", self._slug), query) as socket:
            self._progress.begin(self._progress.last + 1, 0)
            self._patience.connected()
            while True:
                data = self._progress.feed((await socket.receive()).encode() + b"\n")
                if not data:
                    continue  # It was told before the connection was lost.
                self._patience.received()
                record = parse_record(data)
                await take(record)
                if isinstance(record, Event) and record.name == "end":
                    return


class Attachment(Feed[Line]):
    """The lines of a process, with `async for`, until it is deleted or the agent stops.

    lost_lines: how many came faster than they were read, so that the agent has them no more.
    end: why there are no more: `process` or `agent`; None before.
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
