"""The attach socket: the lines of a process, one WebSocket text frame each.

Plain ASGI without a framework: Quart would queue what clients send, and would close
with 1000 whatever went wrong.
"""

from __future__ import annotations

import json
import logging

import trio

from smartmob_agent.api.attach_sender import ConsoleSender
from smartmob_agent.api.console_query import ATTACH_OPTIONS, parse_console_query
from smartmob_agent.errors import RequestError
from smartmob_agent.http.asgi import Receive, Scope, Send
from smartmob_agent.http.problems import MEDIA_TYPE, problem_of
from smartmob_agent.output.console import Console
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["PATH", "AttachConsole"]

logger = logging.getLogger(__name__)

PATH = "/attach-console/"
_INTERNAL_ERROR = 1011
"""RFC 6455, section 7.4.1."""
_HANDSHAKE_TIMEOUT = 2.0
"""Seconds that a client has to answer a close frame."""


class AttachConsole:
    """The ASGI application for WebSockets."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client until the process, the agent or the client ends it."""
        try:
            console = self._find(scope["path"])
            query = parse_console_query(scope["query_string"], ATTACH_OPTIONS)
            # Before the handshake is answered: a client that has its 101 misses no line.
            cursor = query.subscribe(console, tail=0)
        except RequestError as exc:
            await _reject(send, problem_of(exc))
            return
        await send({"type": "websocket.accept", "headers": []})
        sender = ConsoleSender(console, cursor, scope, send, records=query.format == "json")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_to_end, receive, nursery.cancel_scope)
            code, reason = await _send_all(sender, scope)
            await send({"type": "websocket.close", "code": code, "reason": reason})
            nursery.cancel_scope.deadline = trio.current_time() + _HANDSHAKE_TIMEOUT

    def _find(self, path: str) -> Console:
        slug = path.removeprefix(PATH)
        if slug == path or not slug or "/" in slug:
            raise NoWebSocketError
        return self._supervisor.get(slug).console


class NoWebSocketError(RequestError):
    """The path is not one of a WebSocket."""

    status = 404

    def __init__(self) -> None:
        super().__init__("there is no WebSocket at this path")


async def _reject(send: Send, document: dict[str, object]) -> None:
    """Answer the handshake as HTTP does: the ASGI extension "websocket.http.response"."""
    await send(
        {
            "type": "websocket.http.response.start",
            "status": document["status"],
            "headers": [(b"content-type", MEDIA_TYPE.encode())],
        }
    )
    await send({"type": "websocket.http.response.body", "body": json.dumps(document).encode()})


async def _read_to_end(receive: Receive, scope: trio.CancelScope) -> None:
    """Ignore what the client sends; when it has gone, cancel `scope`."""
    while (await receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel(reason="the client has gone")


async def _send_all(sender: ConsoleSender, scope: Scope) -> tuple[int, str]:
    try:
        return await sender.run()
    except Exception:  # An attach never lies: a normal close would say that all was sent.
        logger.exception("attach failed", extra={"path": scope["path"]})
        return _INTERNAL_ERROR, "internal error"
