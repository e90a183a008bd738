"""One event for each request, when it has ended."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import trio

from smartmob_agent.http.asgi import App, Message, Receive, Scope, Send
from smartmob_agent.http.extensions import FRAMES_MESSAGE, get_write_now, offer_write_now
from smartmob_agent.http.middleware.traffic import Traffic

__all__ = ["log_requests"]

logger = logging.getLogger(__name__)


def log_requests(app: App, traffic: Traffic, quiet_paths: Collection[str] = ()) -> App:
    """Wrap an application: an event `request` after each; a WebSocket is one request.

    The path is logged as it was sent, without the query, which may hold secrets.

    traffic: counts all requests, also those that are not logged.
    quiet_paths: are not logged: whoever looks after the agent asks every few seconds.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        record = _Record(scope, send, traffic, quiet_paths)
        try:
            await app(scope, receive, record.send)
        finally:
            record.end()

    return logged


class _Record:
    def __init__(
        self, scope: Scope, send: Send, traffic: Traffic, quiet_paths: Collection[str]
    ) -> None:
        self._scope, self._send = scope, send
        self._quiet = scope["path"] in quiet_paths
        self._exchange = traffic.begin(scope.get("method", "GET"), scope["path"])
        self._began = trio.current_time()
        self._status: int | None = None
        self._bytes = 0

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._status = message["status"]
        elif kind == "websocket.accept":
            self._status = 101
            self._exchange.attach()
        elif kind in ("http.response.body", "websocket.http.response.body"):
            self._bytes += len(message.get("body", b""))
        elif kind == FRAMES_MESSAGE:
            self._bytes += len(message["frames"])
        elif kind == "websocket.send":
            self._bytes += len(message.get("bytes") or message["text"].encode())
        await self._send(message)
        if kind == "websocket.accept":
            self._count_direct_writes()

    def _count_direct_writes(self) -> None:
        """What is written straight to the socket passes by `send`."""
        write_now = get_write_now(self._scope)
        if write_now is None:
            return

        def counted(frames: Sequence[bytes]) -> int:
            taken = write_now(frames)
            self._bytes += sum(map(len, frames[:taken]))
            return taken

        offer_write_now(self._scope, counted)

    def end(self) -> None:
        """Count and log it."""
        seconds = trio.current_time() - self._began
        self._exchange.end(self._status, seconds)
        if not self._quiet:
            self._log(seconds)

    def _log(self, seconds: float) -> None:
        scope = self._scope
        client = scope["client"]
        logger.info(
            "request",
            extra={
                "method": scope.get("method", "GET"),
                "path": scope["raw_path"].decode("ascii", "backslashreplace"),
                "status": self._status,
                "duration": round(seconds, 4),
                "bytes": self._bytes,
                "request_id": scope.get("request_id"),
                "peer": client[0] if client else "unix",
            },
        )
