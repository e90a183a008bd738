"""Ask an ASGI application one thing, without a server."""

from __future__ import annotations

import json
from typing import Any

import attrs

from smartmob_agent.http.asgi import App, Scope


@attrs.frozen
class Answer:
    """What was sent; status is 101 for an accepted WebSocket."""

    messages: list[Any]

    @property
    def status(self) -> int:
        first = self.messages[0]
        return 101 if first["type"] == "websocket.accept" else int(first["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def document(self) -> Any:
        return json.loads(self.messages[1]["body"])


def make_scope(kind: str = "http", path: str = "/", **changes: Any) -> Scope:
    """A request from 10.0.0.1 to 192.0.2.1:8080; header names with `_` for `-`."""
    headers = changes.pop("headers", {"host": "localhost"})
    scope: Scope = {
        "type": kind,
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"secret=1",
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()],
        "client": ("10.0.0.1", 4711),
        "server": ("192.0.2.1", 8080),
        "extensions": {},
    }
    more: Scope = {"method": "GET"} if kind == "http" else {"subprotocols": []}
    return {**scope, **more, **changes}


async def ask(app: App, kind: str = "http", path: str = "/", **changes: Any) -> Answer:
    """Return all that the application sends."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        raise AssertionError

    await app(make_scope(kind, path, **changes), receive, send)
    return Answer(messages)


class Recorder:
    """An application that says 200, or accepts, and keeps the scopes it has seen."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Scope, _receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept", "headers": []})
            await send({"type": "websocket.send", "text": "é"})
            await send({"type": "websocket.send", "bytes": b"123"})
            await send({"type": "websocket.send.frames", "frames": b"12345"})
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})
