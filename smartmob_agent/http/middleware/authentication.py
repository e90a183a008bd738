"""Bearer tokens: RFC 6750, and a way for browsers, whose WebSockets can send no headers."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection

import trio

from smartmob_agent.http.asgi import App, Message, Receive, Scope, Send
from smartmob_agent.http.middleware.failures import FailureLimit
from smartmob_agent.http.middleware.tokens import Tokens
from smartmob_agent.http.reply import reply_problem

__all__ = ["SUBPROTOCOL", "require_token"]

logger = logging.getLogger(__name__)

SUBPROTOCOL = "smartmob"
"""A browser offers this and `bearer.TOKEN`; the agent chooses this one, never the token."""
_BEARER = "bearer."
_CHALLENGE = b'Bearer realm="smartmob-agent"'


def require_token(
    app: App, tokens: Tokens, limit: FailureLimit, open_paths: Collection[str] = ()
) -> App:
    """Wrap an application: 401 without a known token, 429 after too many wrong ones.

    open_paths: ask for none.

    Only wrong tokens are throttled, by the address that they come from: the right one is let in
    whatever its neighbours behind the same proxy or NAT have tried.  All users of a Unix socket
    look alike, so wrong tokens from there are refused, logged and not counted.
    """

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        is_open = scope["type"] == "http" and scope["path"] in open_paths
        if scope["type"] not in ("http", "websocket") or is_open:
            await app(scope, receive, send)
            return
        token = _token(scope)
        if token is None:
            headers = [(b"www-authenticate", _CHALLENGE)]
            await reply_problem(scope, send, 401, "expected a bearer token", headers)
        elif tokens.accept(token):
            await app(_without_token(scope), receive, _choosing(scope, send))
        else:
            await _refuse(scope, send, limit)

    return checked


async def _refuse(scope: Scope, send: Send, limit: FailureLimit) -> None:
    """Answer a request whose token is wrong."""
    host, now = scope["client"][0] if scope["client"] else None, trio.current_time()
    if host is not None and (wait := limit.wait(host, now)) > 0:
        retry_after = (b"retry-after", str(math.ceil(wait)).encode())
        detail = "too many wrong tokens came from this address"
        await reply_problem(scope, send, 429, detail, [retry_after])
        return
    if host is not None:
        limit.fail(host, now)
    blocked = host is not None and limit.wait(host, now) > 0
    logger.warning("login failed", extra={"peer": host or "unix", "blocked": blocked})
    headers = [(b"www-authenticate", _CHALLENGE + b', error="invalid_token"')]
    await reply_problem(scope, send, 401, "the bearer token is not known", headers)


def _token(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                return str(token.strip())
    for offer in scope.get("subprotocols", ()):
        if offer.startswith(_BEARER):
            return str(offer.removeprefix(_BEARER))
    return None


def _without_token(scope: Scope) -> Scope:
    """What is behind need not know it, and so cannot tell it."""
    secret = (b"authorization", b"sec-websocket-protocol")
    headers = [(name, value) for name, value in scope["headers"] if name not in secret]
    changes: Scope = {"headers": headers}
    if "subprotocols" in scope:
        offers = scope["subprotocols"]
        changes["subprotocols"] = [x for x in offers if not x.startswith(_BEARER)]
    return {**scope, **changes}


def _choosing(scope: Scope, send: Send) -> Send:
    """Choose our subprotocol where it is offered: browsers give up when none is chosen."""
    if SUBPROTOCOL not in scope.get("subprotocols", ()):
        return send

    async def send_chosen(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") is None:
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    return send_chosen
