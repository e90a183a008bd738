"""URLs of agents."""

from __future__ import annotations

import pytest

from smartmob_agent.client.address import parse_address
from smartmob_agent.client.errors import AddressError


@pytest.mark.parametrize(
    ("text", "base", "host", "port"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", "127.0.0.1", 8080),
        ("http://agent/", "http://agent", "agent", 80),
        ("https://agent.example", "https://agent.example", "agent.example", 443),
        ("https://[::1]:1/a/", "https://[::1]:1/a", "::1", 1),
    ],
)
def test_a_url_says_where_to_connect(text: str, base: str, host: str, port: int) -> None:
    address = parse_address(text)
    assert (address.base, address.host, address.port) == (base, host, port)
    assert (address.tls, address.unix) == (text.startswith("https"), None)


def test_the_host_header_has_a_port_where_the_url_has_one() -> None:
    assert parse_address("http://[::1]:80/a").authority == "[::1]:80"
    assert parse_address("http://agent").authority == "agent"


def test_an_agent_may_be_found_below_a_path() -> None:
    assert parse_address("https://example.net/agents/1/").prefix == "/agents/1"


@pytest.mark.parametrize(
    ("text", "path"),
    [("unix:/run/a.sock", "/run/a.sock"), ("unix:///run/a.sock", "/run/a.sock"), ("unix:a", "a")],
)
def test_a_unix_socket_is_a_path(text: str, path: str) -> None:
    address = parse_address(text)
    assert (address.unix, address.tls) == (path, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected http://HOST:PORT, https://HOST:PORT or unix:PATH, found ''"),
        ("agent:8080", "found 'agent:8080'"),
        ("ftp://agent", "found 'ftp://agent'"),
        ("http://", "found 'http://'"),
        ("http://agent:port", "expected the URL of an agent: Port could not be cast"),
        ("http://[1", "expected the URL of an agent: Invalid IPv6 URL"),
        ("unix:", "expected unix: and the path of a socket, found 'unix:'"),
        ("http://user:secret@agent", "without user, query and fragment$"),
        ("http://agent?secret", "without user, query and fragment$"),
        ("ftp://user:secret@agent?secret", "found 'agent'$"),
    ],
)
def test_what_is_no_url_of_an_agent_is_told(text: str, message: str) -> None:
    """Without what may be a secret."""
    with pytest.raises(AddressError, match=message) as caught:
        parse_address(text)
    assert "secret" not in str(caught.value)
