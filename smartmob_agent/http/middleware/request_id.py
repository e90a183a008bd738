"""A name for each request, given back with its answer and passed on with what it causes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from smartmob_agent.http.asgi import App, Message, Receive, Scope, Send
from smartmob_agent.http.headers import REQUEST_ID, new_request_id

__all__ = ["identify_requests", "request_id_of"]

_SANE = re.compile(rb"[!-~]{1,128}")

_ANSWERS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the id that a request brings, if it has a sane one, else a new one."""
    for name, value in headers:
        if name.lower() == REQUEST_ID and _SANE.fullmatch(value):
            return value.decode("ascii")
    return new_request_id()


def identify_requests(app: App) -> App:
    """Wrap an ASGI application so that each request has an id: `scope["request_id"]`.

    Every answer carries it, those to WebSocket handshakes included.  A request that has one,
    by an application around this one, keeps it.
    """

    async def identified(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or "request_id" in scope:
            await app(scope, receive, send)
            return
        request_id = request_id_of(scope["headers"])
        header = (REQUEST_ID, request_id.encode())

        async def send_with_id(message: Message) -> None:
            if message["type"] in _ANSWERS:
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        await app({**scope, "request_id": request_id}, receive, send_with_id)

    return identified
