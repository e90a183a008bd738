"""What all answers without an end have in common: they pass proxies, and notice who has gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import trio

from smartmob_agent.http.extensions import ClientLink

__all__ = ["STREAM_HEADERS", "QuietTimer"]

ItemT = TypeVar("ItemT")

STREAM_HEADERS: Mapping[str, str] = {
    # Nobody between us and the client may keep, compress or otherwise change it: RFC 9111,
    # sections 5.2.2.5 and 5.2.2.6.  HAProxy and gzip of Apache and Envoy heed `no-transform`.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx would keep it until it has 4 KiB
}


class QuietTimer:
    """Tells when a stream has been quiet for so long that it should give a sign of life.

    client: looked after while it is quiet; when it ends its input, a sign is due at once, since
        one that has gone for good answers it with a reset.
    interval: seconds.
    quiet: seconds without an item so far.
    """

    def __init__(self, client: ClientLink, interval: float) -> None:
        self._client, self._interval = client, interval
        self._wait = trio.CancelScope()
        self._hurry = False
        self._last = trio.current_time()
        client.when_half_closed(self._on_half_close)

    @property
    def quiet(self) -> float:
        return trio.current_time() - self._last

    async def next(self, receive: Callable[[], Awaitable[ItemT]]) -> ItemT | None:
        """Return what `receive` does, or None when a sign of life is due.

        If cancelled: nothing is lost, if that is true of `receive`.
        """
        with trio.move_on_after(0 if self._hurry else self._interval) as self._wait:
            item = await receive()
            self._last = trio.current_time()
            return item
        self._hurry = False
        self._client.drop_vanished()
        return None

    def _on_half_close(self) -> None:
        self._hurry = True
        self._wait.cancel()
