"""What the client needs of the network; tests have it in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs

from smartmob_agent.client.documents import parse_json

__all__ = ["Answer", "Body", "Query", "Requests", "Socket", "Sockets", "StreamedAnswer"]

Query = Mapping[str, object]
"""Names and values, or lists of them; what is None is left out."""
Body = bytes | AsyncIterator[bytes]


@attrs.frozen(kw_only=True)
class Answer:
    """An answer that says yes.

    headers: name in any case → value.
    """

    headers: Mapping[str, str]
    body: bytes = b""

    def document(self) -> Any:
        """Return its JSON; raises `BadAnswerError`."""
        return parse_json(self.body)


@attrs.frozen(kw_only=True)
class StreamedAnswer:
    """An answer that says yes, while it comes.

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
        patient: bool = False,
    ) -> Answer:
        """Return the answer.

        patient: the agent may take its time.
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
        """Have an answer while it comes."""
        ...


class Socket(Protocol):
    """A WebSocket that is open."""

    async def receive(self) -> str:
        """Wait for the next message; raises `ConnectionLostError` when there will be none."""
        ...


class Sockets(Protocol):
    """Opens WebSockets to one agent."""

    def open(self, path: str, query: Query) -> AbstractAsyncContextManager[Socket]:
        """Have a WebSocket; raises what requests raise."""
        ...
