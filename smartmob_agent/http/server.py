"""The HTTP server: accepts connections, bounds their number, and stops them in time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import trio

from smartmob_agent.config.settings import HttpLimits
from smartmob_agent.http.asgi import App
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.connection import Connection
from smartmob_agent.http.listeners import Listener
from smartmob_agent.http.protocol.h11 import ProtocolSettings

__all__ = ["serve_http"]

logger = logging.getLogger(__name__)

_LOG_INTERVAL = 1.0
"""Seconds between two log lines about refused connections: a flood of them must not flood."""
_ACCEPT_PAUSE = 0.1
"""Seconds until the next try when the agent has no descriptor left, as trio does."""


async def serve_http(
    app: App,
    listeners: Sequence[Listener],
    *,
    limits: HttpLimits,
    bodies: Bodies,
    stop: trio.Event,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until `stop` is set; there are no lifespan events.

    bodies: what the bodies of requests may cost.

    Then no connection is accepted any more and idle ones are closed; open requests may end and
    WebSockets close for at most `limits.graceful_timeout` seconds.  What is left is reset, and
    its handlers are cancelled.  The listeners are closed.

    If cancelled: every connection is reset at once.
    """
    server = _Server(app, limits, bodies)
    async with trio.open_nursery() as guard:
        guard.start_soon(server.reset_when_cancelled)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(server.accept, listener, connections)
                task_status.started()
                await stop.wait()
                accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.close()
            await server.stop()
            guard.cancel_scope.deadline = trio.current_time() + limits.graceful_timeout
        guard.cancel_scope.cancel()


class _Server:
    def __init__(self, app: App, limits: HttpLimits, bodies: Bodies) -> None:
        self._app, self._limits = app, limits
        self._settings = ProtocolSettings(limits, bodies)
        self._connections: set[Connection] = set()
        self._of_host: Counter[str] = Counter()
        self._refused = 0
        self._next_log = -_LOG_INTERVAL

    async def reset_when_cancelled(self) -> None:
        """Let no write, each shielded until its deadline, hold up a cancellation."""
        try:
            await trio.sleep_forever()
        finally:
            for connection in list(self._connections):
                connection.abort()

    async def stop(self) -> None:
        await self._settings.stop()
        for connection in list(self._connections):
            connection.finish_if_idle()

    async def accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                logger.warning("cannot accept", extra={"reason": error.strerror})
                await trio.sleep(_ACCEPT_PAUSE)
                continue
            try:
                connection = Connection(stream, self._app, self._settings)
            except OSError:
                await trio.aclose_forcefully(stream)  # gone before we looked
                continue
            if self._is_full(connection.peer.host):
                self._refuse(connection)
            else:
                self._connections.add(connection)
                self._of_host[connection.peer.host] += 1
                nursery.start_soon(self._run, connection, name=f"connection {connection.peer}")

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._of_host[connection.peer.host] -= 1
            if not self._of_host[connection.peer.host]:
                del self._of_host[connection.peer.host]

    def _is_full(self, host: str) -> bool:
        return (
            len(self._connections) >= self._limits.connections
            or self._of_host[host] >= self._limits.connections_per_peer
        )

    def _refuse(self, connection: Connection) -> None:
        connection.abort()
        self._refused += 1
        if trio.current_time() >= self._next_log:
            self._next_log = trio.current_time() + _LOG_INTERVAL
            logger.warning(
                "connection refused",
                extra={"peer": str(connection.peer), "refused": self._refused},
            )
