"""An agent in memory, whose connections are cut as a test says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self

import attrs
import trio

from smartmob_agent.client.client import Client, open_over
from smartmob_agent.client.errors import (
    ConnectionLostError,
    InvalidRequestError,
    NoSuchProcessError,
)
from smartmob_agent.client.network import Answer, Body, Query, StreamedAnswer
from tests.client.test_documents import STATUS

NOW = "2026-01-01T00:00:00.000Z"


@attrs.define(eq=False)
class MemoryAgent:
    """One process, `hello.web.0`; it is `Requests` and `Sockets`.

    lines: of its console.
    kept_from: number of the first line that the ring still has.
    cuts: for each connection to the console, behind how many of its items it is lost; what has
        none goes on to the end.
    down: how many attempts, of requests and of connections, fail.
    part_bytes: size of the parts in which text comes; a line of the tests has 7.
    asked: paths and queries of all.
    connections: how many are open.
    """

    lines: list[str] = attrs.field(factory=list)
    kept_from: int = 1
    cuts: list[int] = attrs.field(factory=list)
    down: int = 0
    part_bytes: int = 7
    status: dict[str, Any] | None = attrs.field(factory=lambda: dict(STATUS))
    asked: list[tuple[str, dict[str, object]]] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    connections: int = 0

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        long_running: bool = False,
    ) -> Answer:
        await self._reach(path, query or {})
        if path.startswith("/process-log/"):
            first, missed = self._begin(query or {})
            return Answer(headers={"First-Line": str(first), "Lines-Missed": str(missed)})
        assert path == "/process-status/hello.web.0"
        return Answer(headers={}, body=json.dumps(self.status).encode())

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[StreamedAnswer]:
        await self._reach(path, query or {})
        first, missed = self._begin(query or {})
        answer = {"First-Line": str(first), "Lines-Missed": str(missed)}
        items = self._items(query or {}, str(query and query["format"]))
        with self._connected():
            yield StreamedAnswer(headers=answer, parts=self._parts(items))

    @asynccontextmanager
    async def open(self, path: str, query: Query) -> AsyncGenerator[Parts]:
        await self._reach(path, query)
        with self._connected():
            yield self._parts(self._items(query, "json"))

    @contextmanager
    def _connected(self) -> Iterator[None]:
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1

    async def _reach(self, path: str, query: Query) -> None:
        await trio.lowlevel.checkpoint()
        self.asked.append((path, {k: v for k, v in query.items() if v is not None}))
        self.times.append(trio.current_time())
        if self.down:
            self.down -= 1
            raise ConnectionLostError("down")
        if self.status is None:
            raise NoSuchProcessError(404, "no process has the slug 'hello.web.0'")

    def _begin(self, query: Query) -> tuple[int, int]:
        tail, after = query.get("tail"), query.get("after")
        if isinstance(after, int):
            if after > len(self.lines):
                raise InvalidRequestError(400, "the query is not valid")
            first = max(after + 1, self.kept_from)
            return first, first - after - 1
        return max(
            len(self.lines) - (tail if isinstance(tail, int) else 1 << 60) + 1, self.kept_from
        ), 0

    def _items(self, query: Query, form: str) -> list[bytes]:
        first, missed = self._begin(query)
        items = [(n, line) for n, line in enumerate(self.lines, 1) if n >= first]
        if form == "text":
            size = self.part_bytes
            text = b"".join(line.encode() + b"\n" for _, line in items)
            return [text[start : start + size] for start in range(0, len(text), size)]
        records: list[dict[str, object]] = [{"event": "dropped", "lines": missed}] if missed else []
        for n, line in items:
            records.append({"seq": n, "time": NOW, "stream": "stdout", "line": line})
        records.append({"event": "exited", "time": NOW, "pid": 5})
        records.append({"event": "end", "reason": "process"})
        texts = [json.dumps(record).encode() for record in records]
        return texts if form == "json" else [b"".join(text + b"\n" for text in texts)]

    def _parts(self, items: list[bytes]) -> Parts:
        cut = self.cuts.pop(0) if self.cuts else None
        return Parts(iter(items[:cut]), lost=cut is not None)


@attrs.define(eq=False)
class Parts:
    """What a connection brings; it may be lost behind that."""

    items: Iterator[bytes]
    lost: bool

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for item in self.items:
            return item
        if self.lost:
            raise ConnectionLostError("cut")
        raise StopAsyncIteration

    async def receive(self) -> str:
        return (await anext(self)).decode()


@asynccontextmanager
async def client_of(
    agent: MemoryAgent, *, reconnect_timeout: float = 60.0
) -> AsyncGenerator[Client]:
    """Have a client of it."""
    async with open_over(agent, lambda: agent, reconnect_timeout=reconnect_timeout) as client:
        yield client
