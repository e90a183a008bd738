"""Short answers of the ASGI applications that stand before the API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from smartmob_agent.http.asgi import Scope, Send
from smartmob_agent.http.problems import MEDIA_TYPE, problem

__all__ = ["reply_problem"]


async def reply_problem(
    scope: Scope,
    send: Send,
    status: int,
    detail: str,
    headers: Iterable[tuple[bytes, bytes]] = (),
    errors: Sequence[str] = (),
) -> None:
    """Answer a request, or the handshake of a WebSocket, by a problem document."""
    body = json.dumps(problem(status, detail, errors)).encode()
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    fields = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    await send({"type": f"{kind}.start", "status": status, "headers": fields})
    await send({"type": f"{kind}.body", "body": body})
