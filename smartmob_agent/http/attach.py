"""The attach socket: the lines of a process, one WebSocket text frame each.

Plain ASGI without a framework: Quart would queue what clients send, and would close
with 1000 whatever went wrong.
"""

from __future__ import annotations

import json
import logging

import trio

from smartmob_agent.errors import ProcessNotFoundError
from smartmob_agent.http.asgi import Receive, Scope, Send
from smartmob_agent.http.problems import MEDIA_TYPE, problem, problem_of
from smartmob_agent.output.console import Batch, Console, ConsoleEnd, Cursor, LinesMissedError
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["FRAMES_EXTENSION", "PATH", "AttachConsole"]

logger = logging.getLogger(__name__)

PATH = "/attach-console/"
FRAMES_EXTENSION = "smartmob.frames"
"""The server takes `{"type": "websocket.send.frames", "frames": bytes}`: frames ready to write."""

_CLOSES = {
    ConsoleEnd.PROCESS: (1000, "the process was deleted"),
    ConsoleEnd.AGENT: (1001, "the agent stops"),
}
"""RFC 6455, section 7.4.1."""
_TRY_AGAIN_LATER = 1013
"""From the IANA registry "WebSocket Close Code Number"."""
_INTERNAL_ERROR = 1011
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
        except ProcessNotFoundError as exc:
            await _reject(send, problem_of(exc))
            return
        if console is None:
            await _reject(send, problem(404, "there is no WebSocket at this path"))
            return
        # Before the handshake is answered: a client that has its 101 misses no line.
        cursor = console.subscribe()
        await send({"type": "websocket.accept", "headers": []})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_to_end, receive, nursery.cancel_scope)
            code, reason = await _send_output(console, cursor, scope, send)
            await send({"type": "websocket.close", "code": code, "reason": reason})
            nursery.cancel_scope.deadline = trio.current_time() + _HANDSHAKE_TIMEOUT

    def _find(self, path: str) -> Console | None:
        slug = path.removeprefix(PATH)
        if slug == path or not slug or "/" in slug:
            return None
        return self._supervisor.get(slug).console


async def _reject(send: Send, document: dict[str, object]) -> None:
    """Answer the handshake as HTTP does: the ASGI extension "websocket.http.response"."""
    await send(
        {
            "type": "websocket.http.response.start",
            "status": document["status"],
            "headers": [(b"content-type", MEDIA_TYPE.encode())],
        }
    )
    await send(
        {"type": "websocket.http.response.body", "body": json.dumps(document).encode()},
    )


async def _read_to_end(receive: Receive, scope: trio.CancelScope) -> None:
    """Ignore what the client sends; when it has gone, cancel `scope`."""
    while (await receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel(reason="the client has gone")


async def _send_output(
    console: Console, cursor: Cursor, scope: Scope, send: Send
) -> tuple[int, str]:
    """Send lines until there is a reason to close; return its code and text."""
    send_batch = _send_frames if FRAMES_EXTENSION in scope["extensions"] else _send_lines
    try:
        while True:
            await send_batch(await cursor.receive(), send)
    except trio.EndOfChannel:
        return _CLOSES[console.end or ConsoleEnd.PROCESS]
    except LinesMissedError as exc:
        return _TRY_AGAIN_LATER, f"too slow: {exc}"
    except Exception:
        logger.exception("attach failed", extra={"path": scope["path"]})
        return _INTERNAL_ERROR, "internal error"


async def _send_frames(batch: Batch, send: Send) -> None:
    await send({"type": "websocket.send.frames", "frames": batch.frames})


async def _send_lines(batch: Batch, send: Send) -> None:
    for line in batch.lines:
        await send({"type": "websocket.send", "text": line.decode("utf-8")})
