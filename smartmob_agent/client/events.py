"""What happens to processes, as it happens, over lost connections."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from smartmob_agent.client.documents import (
    GONE,
    Change,
    Process,
    parse_change,
    parse_json,
    parse_processes,
)
from smartmob_agent.client.errors import BadAnswerError, ConnectionLostError
from smartmob_agent.client.identity import over_connections
from smartmob_agent.client.network import Requests
from smartmob_agent.client.reconnect import Patience
from smartmob_agent.client.sse import Message, Parser

__all__ = ["EventsReader", "Gap", "Happening", "Snapshot", "state_in"]


@attrs.frozen(kw_only=True)
class Snapshot:
    """All processes that were asked for, as they are now; changes begin behind it."""

    processes: Sequence[Process]


@attrs.frozen(kw_only=True)
class Gap:
    """Changes are gone; a new `Snapshot` follows.

    missed: how many, None where nobody knows since the agent was started again.
    """

    missed: int | None


Happening = Snapshot | Change | Gap


class EventsReader:
    """Reads what happens until the agent stops.

    slugs, apps: only these processes; all without either.
    """

    def __init__(
        self, requests: Requests, *, slugs: Sequence[str], apps: Sequence[str], patience: Patience
    ) -> None:
        self._requests = requests
        self._query = {"slug": list(slugs), "app": list(apps)}
        self._patience = patience
        self._last_id: str | None = None

    async def run(self, send: trio.MemorySendChannel[Happening]) -> None:
        """Send all of it."""

        async def attempt() -> None:
            await self._read(send)

        await over_connections(attempt, trio.lowlevel.checkpoint, self._patience)

    async def _read(self, send: trio.MemorySendChannel[Happening]) -> None:
        """Read by one connection."""
        headers = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        parser = Parser()
        async with self._requests.stream(
            "GET", "/events", query=self._query, headers=headers
        ) as answer:
            self._patience.connected()
            async for part in answer.parts:
                self._patience.received()
                for message in parser.feed(part):
                    if message.event == "end":
                        return
                    if (happening := _parse(message)) is not None:
                        await send.send(happening)
                    # Behind a gap the agent begins anew: it shall not tell the same gap twice.
                    self._last_id = None if isinstance(happening, Gap) else parser.last_id
        raise ConnectionLostError("the agent cut the stream of events")


def _parse(message: Message) -> Happening | None:
    """Return what a message says; None for signs of life, and for what is not known yet."""
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


def state_in(happening: Happening) -> tuple[str, str | None]:
    """Return state and error of the only process that was asked for; nothing without news."""
    if isinstance(happening, Gap):
        return "", None
    if isinstance(happening, Change):
        return happening.state, happening.error
    if not happening.processes:
        return GONE, None
    return happening.processes[0].state, happening.processes[0].error
