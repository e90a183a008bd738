"""The interfaces between the client and the network; tests implement them in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs

from smartmob_agent.client.documents import parse_json

__all__ = ["Answer", "Body", "Query", "Requests", "Socket", "Sockets", "StreamedAnswer"]

Query = Mapping[str, object]
"""Names and values, or lists of them; None is left out."""
Body = bytes | AsyncIterator[bytes]


@attrs.frozen(kw_only=True)
class Answer:
    """A successful answer.

    headers: name in any case → value.
    """

    headers: Mapping[str, str]
    body: bytes = b""

    def document(self) -> Any:
        """Return its JSON; raises `BadAnswerError`."""
        return parse_json(self.body)


@attrs.frozen(kw_only=True)
class StreamedAnswer:
    """A successful answer, while it comes.

    parts: of its body; raises `ConnectionLostError` when it is cut short.
    """

    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


class Requests(Protocol):
    """Sends requests to one agent.

    Raises `RefusedError`, `NoConnectionError` and `BadAnswerError`.
    """

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
        """Return the answer.

        long_running: wait for the answer without a time limit.
        """
        ...

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AbstractAsyncContextManager[StreamedAnswer]:
        """Open an answer, to be read while it comes."""
        ...


class Socket(Protocol):
    """A WebSocket that is open."""

    async def receive(self) -> str:
        """Wait for the next message; raises `ConnectionLostError` when there will be none."""
        ...


class Sockets(Protocol):
    """Opens WebSockets to one agent."""

    def open(self, path: str, query: Query) -> AbstractAsyncContextManager[Socket]:
        """Open a WebSocket; raises what requests raise."""
        ...
