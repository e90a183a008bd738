"""What becomes of a request whose client has gone."""

from __future__ import annotations

import trio

from smartmob_agent.http.asgi import App, Message, Receive, Scope, Send

__all__ = ["cancel_at_disconnect"]


def cancel_at_disconnect(app: App) -> App:
    """Wrap an application: a request is cancelled when its client goes, rather than told.

    Quart 0.22 cancels its handlers then; 0.23 raises an error in them, which is a fault of the
    handler for all that its error handlers and its log can see.  So both do the same.
    """

    async def cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        with trio.CancelScope() as handling:

            async def receive_or_end() -> Message:
                message: Message = await receive()
                if message["type"] == "http.disconnect":
                    handling.cancel()
                    await trio.lowlevel.checkpoint()
                return message

            await app(scope, receive_or_end, send)

    return cancelled
