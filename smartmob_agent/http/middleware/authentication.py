"""Bearer tokens: RFC 6750, and a way for browsers, whose WebSockets can send no headers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import math
import os
import re
import stat
from collections import OrderedDict, deque
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path

import trio

from smartmob_agent.errors import StartError
from smartmob_agent.http.asgi import App, Message, Receive, Scope, Send
from smartmob_agent.http.problems import send_problem

__all__ = ["SUBPROTOCOL", "FailureLimit", "Tokens", "ignore_tokens", "require_token"]

logger = logging.getLogger(__name__)

SUBPROTOCOL = "smartmob"
"""A browser offers this and `bearer.TOKEN`; the agent chooses this one, never the token."""
_BEARER, _ENCODED = "bearer.", "base64url.bearer."
"""The second one is for tokens with `/` or `=`, which a browser takes for no subprotocol: as
Kubernetes has it, RFC 4648, section 5, without padding."""
_CHALLENGE = b'Bearer realm="smartmob-agent"'
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
"""RFC 6750, section 2.1; a shorter one can be guessed."""
_FILE_BYTES = 1024 * 1024
_HOSTS = 10_000
"""So many addresses are remembered; the one that was quiet for longest is forgotten first."""
_FAILURE_INTERVAL = 60.0


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
            await send_problem(scope, send, 401, "expected a bearer token", headers)
        elif tokens.accept(token):
            await app(_without_token(scope), receive, _choosing(scope, send))
        else:
            await _refuse(scope, send, limit)

    return checked


def ignore_tokens(app: App) -> App:
    """Wrap an application that needs no token: who brings one all the same is let in as others.

    A browser that offers it as a subprotocol would give up if none were chosen.
    """

    async def ignored(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            await app(_without_token(scope), receive, _choosing(scope, send))
        else:
            await app(scope, receive, send)

    return ignored


async def _refuse(scope: Scope, send: Send, limit: FailureLimit) -> None:
    """Answer a request whose token is wrong."""
    host, now = scope["client"][0] if scope["client"] else None, trio.current_time()
    if host is not None and (wait := limit.wait(host, now)) > 0:
        retry_after = (b"retry-after", str(math.ceil(wait)).encode())
        detail = "too many wrong tokens came from this address"
        await send_problem(scope, send, 429, detail, [retry_after])
        return
    if host is not None:
        limit.fail(host, now)
    blocked = host is not None and limit.wait(host, now) > 0
    logger.warning("login failed", extra={"peer": host or "unix", "blocked": blocked})
    headers = [(b"www-authenticate", _CHALLENGE + b', error="invalid_token"')]
    await send_problem(scope, send, 401, "the bearer token is not known", headers)


def _token(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                return str(token.strip())
    for offer in scope.get("subprotocols", ()):
        if offer.startswith(_BEARER):
            return str(offer.removeprefix(_BEARER))
        if offer.startswith(_ENCODED):
            return _decode(offer.removeprefix(_ENCODED))
    return None


def _decode(text: str) -> str:
    """Return the token; what is no base64url is none, which no file has."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except ValueError:  # binascii.Error and UnicodeDecodeError are
        return ""


def _without_token(scope: Scope) -> Scope:
    """What is behind need not know it, and so cannot tell it."""
    secret = (b"authorization", b"sec-websocket-protocol")
    headers = [(name, value) for name, value in scope["headers"] if name not in secret]
    changes: Scope = {"headers": headers}
    if "subprotocols" in scope:
        offers = scope["subprotocols"]
        changes["subprotocols"] = [x for x in offers if not x.startswith((_BEARER, _ENCODED))]
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


class Tokens:
    """The tokens in force; only their digests are kept.

    Raises `StartError` when the file cannot be read, is open to others, or has no token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests = _read_tokens(path)

    def reload(self) -> bool:
        """Read the file again; if that fails, say so in the log and keep what was in force."""
        try:
            self._digests = _read_tokens(self._path)
        except StartError as error:
            logger.error("tokens not reloaded", extra={"reason": str(error)})  # noqa: TRY400
            return False
        logger.info("tokens reloaded", extra={"tokens": len(self._digests)})
        return True

    def accept(self, token: str) -> bool:
        """Is this one of the tokens?  Takes as long for one that is nearly right."""
        digest = _digest(token)
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _read_tokens(path: Path) -> tuple[bytes, ...]:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise StartError(f"token file {path}: expected mode 0600, found {mode:04o}")
            lines = file.read(_FILE_BYTES).decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise StartError(f"token file {path}: {error.strerror}") from error
    digests = []
    for number, line in enumerate(lines, start=1):
        token = line.partition("#")[0].strip()
        if token and not _TOKEN.fullmatch(token):
            raise StartError(
                f"token file {path}, line {number}: expected 16 to 512 characters of "
                "A-Za-z0-9._~+/-"
            )
        if token:
            digests.append(_digest(token))
    if not digests:
        raise StartError(f"token file {path}: expected a token, found none")
    return tuple(digests)


class FailureLimit:
    """At most `limit` failures in 60 seconds from one address, or from one /64 of IPv6.

    now: seconds on any clock that does not go back.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, host: str, now: float) -> float:
        """Return the seconds that a host has to wait until it may try again; mostly 0."""
        times = self._failures.get(_group_of(host))
        if times is None:
            return 0.0
        while times and times[0] <= now - _FAILURE_INTERVAL:
            times.popleft()
        return times[0] + _FAILURE_INTERVAL - now if len(times) >= self._limit else 0.0

    def fail(self, host: str, now: float) -> None:
        """Note a failure."""
        group = _group_of(host)
        self._failures.setdefault(group, deque(maxlen=self._limit)).append(now)
        self._failures.move_to_end(group)
        if len(self._failures) > _HOSTS:
            self._failures.popitem(last=False)


def _group_of(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False))
    return host
