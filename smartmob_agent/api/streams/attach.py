"""The attach socket: the lines of a process, one WebSocket text frame each.

Plain ASGI without a framework: Quart would queue what clients send, and would close
with 1000 whatever went wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import attrs
import trio

from smartmob_agent.api.kinds import QueryOption, one_of
from smartmob_agent.api.problem_catalogue import NOT_FOUND, ProblemReply
from smartmob_agent.api.route import (
    Answer,
    ApiContext,
    Reply,
    Request,
    Route,
    SocketSession,
    problem_answer,
)
from smartmob_agent.api.streams.attach_sender import ConsoleSender
from smartmob_agent.api.streams.console_query import COMMON_OPTIONS, parse_console_query
from smartmob_agent.http.asgi import Receive, Scope, Send
from smartmob_agent.output.log.log_cursor import LogCursor

__all__ = ["ATTACH_OPTIONS", "ROUTES"]

logger = logging.getLogger(__name__)

_INTERNAL_ERROR = 1011
"""RFC 6455, section 7.4.1."""
_HANDSHAKE_TIMEOUT = 2.0
"""Seconds that a client has to answer a close frame."""

ATTACH_OPTIONS: Mapping[str, QueryOption] = {
    **COMMON_OPTIONS,
    "format": QueryOption(
        kind=one_of("text", "json"),
        default="text",
        about="Each message is a line, or a `LogRecord`.",
    ),
}
_NO_HANDSHAKE = "expected a WebSocket handshake, found a plain GET"
_UPGRADE_REQUIRED = ProblemReply.plain(
    "UpgradeRequired",
    "It is no handshake of a WebSocket.",
    426,
    _NO_HANDSHAKE,
    ("Upgrade",),
)


def _connect(context: ApiContext, slug: str, scope: Scope) -> SocketSession:
    process = context.supervisor.get(slug)
    console = process.console
    query = parse_console_query(scope["query_string"], ATTACH_OPTIONS)
    # Before the handshake is answered: a client that has its 101 misses no line.
    cursor = query.subscribe(console, tail=0)
    history = None
    if process.log is not None and query.begins_before(console):
        wanted = attrs.evolve(query.wanted(context.supervisor.now()), follow=True)
        history = LogCursor(console, process.log, wanted, context.log_readers)

    async def attach(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "headers": []})
        sender = ConsoleSender(
            console, cursor, scope, send, records=query.format == "json", history=history
        )
        await _serve(sender, scope, receive, send)

    return attach


async def _serve(sender: ConsoleSender, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one client until the process, the agent or the client ends it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read_to_end, receive, nursery.cancel_scope)
        code, reason = await _send_all(sender, scope)
        await send({"type": "websocket.close", "code": code, "reason": reason})
        nursery.cancel_scope.deadline = trio.current_time() + _HANDSHAKE_TIMEOUT


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


async def _require_upgrade(context: ApiContext, request: Request) -> Answer:
    """Answer what is no handshake."""
    context.supervisor.get(request.slug)
    headers = {"Upgrade": "websocket", "Connection": "Upgrade"}
    return problem_answer(_UPGRADE_REQUIRED, _NO_HANDSHAKE, headers)


ROUTES = (
    Route(
        method="GET",
        path="/attach-console/<slug>",
        handle=_require_upgrade,
        connect=_connect,
        id="attachConsole",
        tag="output",
        summary="Follow the output of a process live, by a WebSocket",
        about="One text message for each line or, with `format=json`, for each `LogRecord`.",
        query=ATTACH_OPTIONS,
        replies={101: Reply("The socket is open, and misses no line from here on.")},
        problems=(NOT_FOUND, _UPGRADE_REQUIRED),
    ),
)
