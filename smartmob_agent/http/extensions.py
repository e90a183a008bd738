"""What the server offers applications beyond ASGI, in `scope["extensions"]`: names and types.

`smartmob.frames`: a WebSocket takes the message `websocket.send.frames`, whose `frames` are bytes
that are ready to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from smartmob_agent.http.asgi import Scope

__all__ = [
    "FRAMES_MESSAGE",
    "Abort",
    "WriteNow",
    "get_abort",
    "get_write_now",
    "offer_abort",
    "offer_frames",
    "offer_write_now",
]

_ABORT, _FRAMES, _WRITE_NOW = "smartmob.abort", "smartmob.frames", "smartmob.write_now"
FRAMES_MESSAGE = "websocket.send.frames"

Abort = Callable[[], None]
"""Cuts the connection."""
WriteNow = Callable[[Sequence[bytes]], int]
"""Writes what the socket takes at once of a sequence of frames.  It returns how many of its items
are written, or will be without the caller's doing."""


def offer_abort(scope: Scope, abort: Abort) -> None:
    """Let the application cut the connection."""
    _extensions(scope)[_ABORT] = abort


def get_abort(scope: Scope) -> Abort:
    """Return what cuts the connection; it is looked for when it is called."""

    def abort() -> None:
        _extensions(scope)[_ABORT]()

    return abort


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
