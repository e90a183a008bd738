"""Is a request meant for this agent?  This ends DNS rebinding and cross-site requests.

A browser sends what a page asks it to, also to an agent on its own machine; but it cannot lie
about `Host` and `Origin`.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.asgi import App, Receive, Scope, Send
from smartmob_agent.http.headers import find_header
from smartmob_agent.http.loopback import is_loopback
from smartmob_agent.http.problems import send_problem

__all__ = ["check_trusted_hosts", "refusal_reason"]

_DEFAULT_PORTS = (":80", ":443")


def check_trusted_hosts(app: App, config: AgentConfig, any_host_paths: Collection[str] = ()) -> App:
    """Wrap an application: 403 for a `Host` or an `Origin` that is not the agent's own.

    At a Unix socket any `Host` will do: no name leads there.
    any_host_paths: any `Host` will do there, too.
    """
    names = {_host_of(name) for name in (config.host, *config.security.allow_hosts)}
    own_origin = ""
    if config.public_url is not None:
        own_origin = urlsplit(config.public_url).netloc.lower()
        names.add(_host_of(own_origin))

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        reason = None
        if scope["type"] in ("http", "websocket"):
            any_host = scope["type"] == "http" and scope["path"] in any_host_paths
            reason = refusal_reason(scope, frozenset(names), own_origin, any_host=any_host)
        if reason is None:
            await app(scope, receive, send)
        else:
            await send_problem(scope, send, 403, reason)

    return checked


def refusal_reason(
    scope: Scope, names: frozenset[str], own_origin: str, *, any_host: bool = False
) -> str | None:
    """Say why a request is not meant for us, or return None.

    names: lower-case hosts without a port, beside those of loopback and the address that the
    client connected to.  own_origin: host and port of the public URL, or nothing.
    """
    host = find_header(scope["headers"], b"host")
    origin = find_header(scope["headers"], b"origin")
    if host is not None and scope["server"] is not None and not any_host:
        name, address = _host_of(host), str(scope["server"][0])
        if not (is_loopback(name) or name in names or name == address.lower()):
            return f"expected a name of this agent in the Host header, found {host!r}"
    if origin is not None:
        authority = _without_default_port(_authority_of(origin))
        own = {_without_default_port(own_origin), _without_default_port(host or "")}
        if not authority or authority not in own:
            return f"expected no Origin but the agent's own, found {origin!r}"
    return None


def _authority_of(origin: str) -> str:
    """Return host and port of an origin; nothing if it has none, such as `null`."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc if parts.scheme in ("http", "https") else ""


def _host_of(authority: str) -> str:
    """Host without a port, brackets or a final dot, in lower case."""
    authority = authority.lower()
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    if authority.count(":") > 1:
        return authority
    return authority.partition(":")[0].rstrip(".")


def _without_default_port(authority: str) -> str:
    authority = authority.lower()
    for port in _DEFAULT_PORTS:
        authority = authority.removesuffix(port)
    return authority
