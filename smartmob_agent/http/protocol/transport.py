"""The seam between a connection and its protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from smartmob_agent.http.asgi import Scope, Send

__all__ = ["Tasks", "Transport"]


class Transport(Protocol):
    """What a protocol asks of its connection."""

    def read_until(self, deadline: float) -> None:
        """Wait for the peer until `deadline` (trio's clock); then the protocol times out."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of it, or give the peer up; never raises but `Cancelled`, and then nothing
        is sent."""
        ...

    def write_now(self, pieces: Sequence[bytes]) -> int:
        """Send without waiting what the peer can take at once; return how many pieces.

        The rest of one that was begun will be sent, in order with what is written later.
        """
        ...

    def finish(self, *, linger: bool) -> None:
        """Read no more, and close.

        linger: the peer may still be sending; let it have its answer first.
        """
        ...

    def abort(self) -> None:
        """Close at once: whoever waits for the peer waits no more."""
        ...

    def start_call(self, scope: Scope, answer: Send) -> Send:
        """Call the application; returned is the way to tell it what the client sent."""
        ...

    def start_task(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run something beside; it must end when the protocol has lost its peer."""
        ...


class Tasks:
    """What hypercorn calls a task group: it starts the calls of the application."""

    def __init__(self, wire: Transport) -> None:
        self._wire = wire

    async def spawn_app(self, _app: object, _config: object, scope: Scope, send: Send) -> Send:
        return self._wire.start_call(scope, send)
