"""What the server offers applications beyond ASGI, in `scope["extensions"]`: names and types.

`smartmob.frames`: a WebSocket takes the message `websocket.send.frames`, whose `frames` are bytes
that are ready to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from smartmob_agent.http.asgi import Scope

__all__ = [
    "FRAMES_MESSAGE",
    "ClientLink",
    "WriteNow",
    "get_client_link",
    "get_write_now",
    "offer_client_link",
    "offer_frames",
    "offer_write_now",
]

_LINK, _FRAMES, _WRITE_NOW = "smartmob.client_link", "smartmob.frames", "smartmob.write_now"
FRAMES_MESSAGE = "websocket.send.frames"

WriteNow = Callable[[Sequence[bytes]], int]
"""Writes what the socket takes at once of a sequence of frames.  It returns how many of its items
are written, or will be without the caller's doing."""


@attrs.define(eq=False, kw_only=True)
class ClientLink:
    """What a long answer may want of the connection to its client.

    abort: cuts it.
    drop_vanished: cuts it if the client does not even acknowledge what it was sent.
    half_closed: the client has ended its input; it may be gone, or wait for the rest of its answer.
    """

    abort: Callable[[], None] = attrs.field(default=lambda: None)
    drop_vanished: Callable[[], None] = attrs.field(default=lambda: None)
    half_closed: bool = False
    _on_half_close: list[Callable[[], None]] = attrs.field(factory=list)

    def when_half_closed(self, call: Callable[[], None]) -> None:
        """Call this once, when the client ends its input; at once if it has."""
        self._on_half_close.append(call)
        if self.half_closed:
            self.half_close()

    def half_close(self) -> None:
        """Tell that the client has ended its input."""
        self.half_closed = True
        while self._on_half_close:
            self._on_half_close.pop()()


def offer_client_link(scope: Scope, link: ClientLink) -> None:
    """Let the application look after its client."""
    _extensions(scope)[_LINK] = link


def get_client_link(scope: Scope) -> ClientLink:
    """Return the link to the client; from another server it is one that does nothing."""
    link: ClientLink = _extensions(scope).get(_LINK) or ClientLink()
    return link


def offer_frames(scope: Scope) -> None:
    """Let the application send frames that are ready to be written."""
    _extensions(scope)[_FRAMES] = {}


def offer_write_now(scope: Scope, write_now: WriteNow) -> None:
    """Let the application write to the socket, once the WebSocket is accepted."""
    _extensions(scope)[_WRITE_NOW] = write_now


def get_write_now(scope: Scope) -> WriteNow | None:
    """Return what writes to the socket, if the server has such a thing."""
    write_now: WriteNow | None = _extensions(scope).get(_WRITE_NOW)
    return write_now


def _extensions(scope: Scope) -> dict[str, Any]:
    extensions: dict[str, Any] = scope.setdefault("extensions", {})
    return extensions
