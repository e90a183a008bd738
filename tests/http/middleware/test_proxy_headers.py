"""Requests that come by a proxy."""

from __future__ import annotations

from typing import Any

import pytest

from smartmob_agent.http.middleware.proxy_headers import trust_proxies
from tests.api.asking import Recorder, ask


async def seen(headers: dict[str, str], kind: str = "http", **changes: Any) -> tuple[Any, str, str]:
    """Client, scheme and host, as the application behind sees them."""
    recorder = Recorder()
    app = trust_proxies(recorder, ["10.0.0.0/24", "unix"])
    await ask(app, kind, headers={"host": "inside", **headers}, **changes)
    scope = recorder.scopes[0]
    host = dict(scope["headers"])[b"host"].decode()
    return scope["client"] and scope["client"][0], scope["scheme"], host


FORWARDED = 'for=192.0.2.60;proto=https;host="agent.example.org:444"'


async def test_x_forwarded_headers() -> None:
    """What most proxies write."""
    headers = {
        "x_forwarded_for": "192.0.2.60",
        "x_forwarded_proto": "https",
        "x_forwarded_host": "agent.example.org",
    }
    assert await seen(headers) == ("192.0.2.60", "https", "agent.example.org")


async def test_a_websocket_by_https_is_a_secure_one() -> None:
    """hypercorn's own wrapper makes it https, at which frameworks fail."""
    assert (await seen({"x_forwarded_proto": "https"}, "websocket"))[1] == "wss"
    assert (await seen({"x_forwarded_proto": "wss"}, "websocket"))[1] == "wss"
    assert (await seen({"x_forwarded_proto": "http"}, "websocket"))[1] == "ws"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (FORWARDED, ("192.0.2.60", "https", "agent.example.org:444")),
        ('For="[2001:db8:cafe::17]:4711"', ("2001:db8:cafe::17", "http", "inside")),
        ("for=192.0.2.43:47011 ; proto=http", ("192.0.2.43", "http", "inside")),
        ("for=unknown;proto=https", ("10.0.0.1", "https", "inside")),
        ("for=_hidden", ("10.0.0.1", "http", "inside")),
        ("for=6.6.6.6, for=192.0.2.60, for=10.0.0.9", ("192.0.2.60", "http", "inside")),
        ("for=192.0.2.60;proto=https, for=10.0.0.9;proto=http", ("192.0.2.60", "https", "inside")),
        ("for=10.0.0.7;host=a, for=10.0.0.9", ("10.0.0.7", "http", "a")),
        ('for="6.6.6.6, for=7.7.7.7"', ("10.0.0.1", "http", "inside")),
        ('host="a b";proto=gopher', ("10.0.0.1", "http", "inside")),
        ("nonsense", ("10.0.0.1", "http", "inside")),
        (",,;=", ("10.0.0.1", "http", "inside")),
    ],
)
async def test_forwarded(value: str, expected: tuple[str, str, str]) -> None:
    """RFC 7239; who is not a trusted proxy has written nothing that counts."""
    assert await seen({"forwarded": value, "x_forwarded_for": "6.6.6.6"}) == expected


async def test_a_chain_of_proxies_is_followed_while_they_are_trusted() -> None:
    """What stands left of the first stranger is his."""
    headers = {"x_forwarded_for": "6.6.6.6, 192.0.2.60, 10.0.0.5"}
    assert (await seen(headers))[0] == "192.0.2.60"


async def test_strangers_are_not_believed() -> None:
    """Neither a stranger nor, without being trusted, somebody without an address."""
    headers = {"forwarded": FORWARDED, "x_forwarded_host": "evil.example"}
    assert await seen(headers, client=("10.0.1.1", 1)) == ("10.0.1.1", "http", "inside")
    assert await seen(headers, client=("unknown", 1)) == ("unknown", "http", "inside")


async def test_a_proxy_at_a_unix_socket() -> None:
    """Trusted by the name `unix`."""
    assert (await seen({"forwarded": FORWARDED}, client=None))[0] == "192.0.2.60"
    recorder = Recorder()
    app = trust_proxies(recorder, ["10.0.0.0/24"])
    await ask(app, headers={"forwarded": FORWARDED}, client=None)
    assert recorder.scopes[0]["client"] is None


async def test_other_scopes_pass() -> None:
    """There is nothing to tell."""
    recorder = Recorder()
    await ask(trust_proxies(recorder, []), "lifespan")
    assert recorder.scopes[0]["type"] == "lifespan"
