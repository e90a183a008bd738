"""Requests that come by a proxy: who sent them, by which scheme, to which host."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network

import attrs

from smartmob_agent.http.asgi import App, Headers, Receive, Scope, Send
from smartmob_agent.http.headers import header_values, without_headers

__all__ = ["trust_proxies"]

_PAIR = re.compile(r'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*')
"""RFC 7239, section 4."""
_ELEMENT = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_SECURE = {"http": "https", "ws": "wss", "https": "https", "wss": "wss"}


@attrs.frozen(kw_only=True)
class _Hop:
    """What one proxy says of the request that it received."""

    client: str | None = None
    scheme: str | None = None
    host: str | None = None


def trust_proxies(app: App, proxies: Sequence[str]) -> App:
    """Wrap an application: what these proxies say of a request becomes part of its scope.

    proxies: addresses and networks; `unix` stands for all at a Unix socket.  What others say is
    left where it is, in headers that nobody reads.
    """
    networks = [ip_network(proxy) for proxy in proxies if proxy != "unix"]

    def is_trusted(host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in networks)

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            client = scope["client"]
            if is_trusted(client[0]) if client else "unix" in proxies:
                hops = _forwarded(scope["headers"]) or _x_forwarded(scope["headers"])
                scope = _apply(scope, _first_of_trusted(hops, is_trusted))
        await app(scope, receive, send)

    return told


def _first_of_trusted(hops: Sequence[_Hop], is_trusted: Callable[[str], bool]) -> _Hop:
    """Return what is said by the outermost of the proxies that we trust."""
    found = _Hop()
    for hop in reversed(hops):
        found = _Hop(
            client=hop.client or found.client,
            scheme=hop.scheme or found.scheme,
            host=hop.host or found.host,
        )
        if hop.client is None or not is_trusted(hop.client):
            break
    return found


def _apply(scope: Scope, hop: _Hop) -> Scope:
    changes: Scope = {}
    if hop.client is not None:
        changes["client"] = (hop.client, 0)
    if hop.scheme in ("https", "wss"):
        changes["scheme"] = _SECURE[scope["scheme"]]
    if hop.host is not None:
        headers = without_headers(scope["headers"], b"host")
        changes["headers"] = [*headers, (b"host", hop.host.encode("ascii"))]
    return {**scope, **changes}


def _forwarded(headers: Headers) -> list[_Hop]:
    """RFC 7239; an element that cannot be read says nothing."""
    hops = []
    for element in _ELEMENT.findall(_joined(headers, b"forwarded")):
        pairs = {m[1].lower(): m[2] or m[3] or "" for m in _PAIR.finditer(element)}
        hops.append(_hop(pairs.get("for"), pairs.get("proto"), pairs.get("host")))
    return hops


def _x_forwarded(headers: Headers) -> list[_Hop]:
    clients = _joined(headers, b"x-forwarded-for").split(",")
    hops = [_hop(client, None, None) for client in clients[:-1]]
    scheme = _joined(headers, b"x-forwarded-proto").rpartition(",")[2]
    host = _joined(headers, b"x-forwarded-host").rpartition(",")[2]
    return [*hops, _hop(clients[-1], scheme, host)]


def _joined(headers: Headers, name: bytes) -> str:
    return b",".join(header_values(headers, name)).decode("latin-1")


def _hop(client: str | None, scheme: str | None, host: str | None) -> _Hop:
    scheme = (scheme or "").strip().lower()
    host = (host or "").strip()
    return _Hop(
        client=_address(client or ""),
        scheme=scheme if scheme in _SECURE else None,
        host=host if _HOST.fullmatch(host) else None,
    )


def _address(text: str) -> str | None:
    """Return the address, without a port; None for names and for `unknown`."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
