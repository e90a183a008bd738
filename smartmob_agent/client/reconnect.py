"""How often, and for how long, a lost connection is retried."""

from __future__ import annotations

import logging

import trio

from smartmob_agent.client.errors import NoConnectionError

__all__ = ["ReconnectBackoff"]

logger = logging.getLogger(__name__)

_BASE_DELAY = 0.5
"""Seconds before the second attempt; the first one comes at once.  Then it doubles."""
_CAP_DELAY = 5.0
"""Seconds between two attempts at most: an agent that is back should be found soon."""


class ReconnectBackoff:
    """The delays between attempts to reconnect: exponential, up to a limit.

    limit: seconds without a connection after which `wait` raises.
    what: what the connection is for, in the log.
    """

    def __init__(self, limit: float, what: str) -> None:
        self._limit = limit
        self._what = what
        self._lost_at: float | None = None
        self._connected_at: float | None = None
        self._delay = 0.0

    def connected(self) -> None:
        """Note that a connection is open."""
        if self._lost_at is not None:
            logger.info("connected again", extra={"what": self._what})
        self._lost_at = None
        self._connected_at = trio.current_time()

    def received(self) -> None:
        """Note that the connection brought data: after its loss, the next attempt comes at once."""
        self._delay = 0.0

    async def wait(self, error: NoConnectionError) -> None:
        """Wait until the next attempt is due.

        Raises `error` when there never was a connection, or none within the limit.
        """
        now = trio.current_time()
        if self._connected_at is None:
            raise error
        if self._lost_at is None:
            self._lost_at = now
            logger.info("connection lost", extra={"what": self._what, "error": str(error)})
            if now - self._connected_at >= _CAP_DELAY:
                self._delay = 0.0
        if now >= (give_up_at := self._lost_at + self._limit):
            raise error
        await trio.sleep(min(self._delay, give_up_at - now))
        self._delay = min(max(_BASE_DELAY, 2 * self._delay), _CAP_DELAY)
