"""The events of processes, by Server-Sent Events, across lost connections.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import trio

from smartmob_agent.client.apps import AppNews, parse_news
from smartmob_agent.client.documents import (
    GONE,
    Change,
    Process,
    parse_change,
    parse_json,
    parse_processes,
)
from smartmob_agent.client.errors import BadAnswerError, ConnectionLostError
from smartmob_agent.client.identity import run_with_reconnects
from smartmob_agent.client.network import Requests
from smartmob_agent.client.reconnect import ReconnectBackoff

__all__ = [
    "EventStreamParser",
    "EventsReader",
    "Gap",
    "Happening",
    "ServerSentEvent",
    "Snapshot",
    "state_in",
]


@attrs.frozen(kw_only=True)
class Snapshot:
    """All requested processes as they are now; the changes after that follow."""

    processes: Sequence[Process]


@attrs.frozen(kw_only=True)
class Gap:
    """Changes were missed; a new `Snapshot` follows.

    missed: how many; None when the agent has restarted, so that nobody knows.
    """

    missed: int | None


Happening = Snapshot | Change | Gap | AppNews


class EventsReader:
    """Reads the events until the agent stops.

    slugs, apps: only processes with these slugs and of these apps; all if both are empty.
    """

    def __init__(
        self,
        requests: Requests,
        *,
        slugs: Sequence[str],
        apps: Sequence[str],
        backoff: ReconnectBackoff,
    ) -> None:
        self._requests = requests
        self._query = {"slug": list(slugs), "app": list(apps)}
        self._backoff = backoff
        self._last_id: str | None = None

    async def run(self, send: trio.MemorySendChannel[Happening]) -> None:
        """Send all events."""

        async def attempt() -> None:
            await self._read(send)

        await run_with_reconnects(attempt, trio.lowlevel.checkpoint, self._backoff)

    async def _read(self, send: trio.MemorySendChannel[Happening]) -> None:
        """Read from one connection."""
        headers = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        parser = EventStreamParser()
        async with self._requests.stream(
            "GET", "/events", query=self._query, headers=headers
        ) as answer:
            self._backoff.connected()
            async for part in answer.parts:
                self._backoff.received()
                for message in parser.feed(part):
                    if message.event == "end":
                        return
                    if (happening := _parse(message)) is not None:
                        await send.send(happening)
                    # After a gap the agent starts anew: without an id it reports no gap twice.
                    self._last_id = None if isinstance(happening, Gap) else parser.last_id
        raise ConnectionLostError("the agent cut the stream of events")


def _parse(message: ServerSentEvent) -> Happening | None:
    """Return the event in a message; None for keep-alives and for kinds not known yet."""
    if message.event in ("app", "release", "rollout"):
        return parse_news(message.event, message.data)
    if message.event not in ("snapshot", "state", "gap"):
        return None
    document = parse_json(message.data)
    if message.event == "snapshot":
        return Snapshot(processes=parse_processes(document))
    if message.event == "state":
        return parse_change(document)
    if not isinstance(document, dict):
        raise BadAnswerError(f"expected a gap, found {document!a:.60}")
    return Gap(missed=document.get("missed"))


def state_in(happening: Happening) -> tuple[str, str | None, bool]:
    """Return state, error and readiness of the only process that was requested.

    The state is empty for a gap.
    """
    if isinstance(happening, Gap | AppNews):
        return "", None, False
    if isinstance(happening, Change):
        return happening.state, happening.error, happening.ready
    if not happening.processes:
        return GONE, None, False
    process = happening.processes[0]
    return process.state, process.error, process.ready


@attrs.frozen(kw_only=True)
class ServerSentEvent:
    """One message.

    data: empty where there was none, as in a keep-alive.
    """

    event: str
    data: str


class EventStreamParser:
    """From bytes, cut anywhere, to messages; an agent ends its lines with LF.

    last_id: id of the latest message that had one, None before the first.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._rest = b""
        self._event = ""
        self._data: list[str] = []

    def feed(self, part: bytes) -> Iterator[ServerSentEvent]:
        """Take bytes; yield the messages that are complete."""
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if line.startswith(b":") and line[1:].strip().isdigit():
                # A keep-alive of the agent: a comment with the number that it has come to.
                self.last_id = line[1:].strip().decode()
                yield ServerSentEvent(event="", data="")
            elif line:
                self._take(line.decode("utf-8", "replace"))
            else:
                yield ServerSentEvent(event=self._event, data="\n".join(self._data))
                self._event, self._data = "", []

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self.last_id = value
