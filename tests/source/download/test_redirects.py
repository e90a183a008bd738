"""Redirects, and who sees the credentials."""

from __future__ import annotations

import base64

import pytest

from smartmob_agent.errors import DownloadError
from smartmob_agent.source.download.redirects import first_target, next_target

BASIC = "Basic " + base64.b64encode(b"us/er:p:w").decode()


def test_credentials_move_from_the_url_into_a_header() -> None:
    """So no log and no message meets them; the fragment stays here."""
    hop = first_target("http://us%2Fer:p:w@host:1/a?b#c")
    assert (hop.url, hop.authorization, hop.shown) == (
        "http://host:1/a?b",
        BASIC,
        "http://host:1/a",
    )
    assert "Basic" not in repr(hop)


@pytest.mark.parametrize(
    ("start", "location", "url", "trusted"),
    [
        ("http://us%2Fer:p:w@host/a/b", "c?d", "http://host/a/c?d", True),
        ("http://us%2Fer:p:w@host/a", "http://host:80/", "http://host:80/", True),
        ("http://us%2Fer:p:w@host/a", "https://host/", "https://host/", True),
        ("http://us%2Fer:p:w@host/a", "https://host:444/", "https://host:444/", False),
        ("http://us%2Fer:p:w@host/a", "http://host:81/", "http://host:81/", False),
        ("http://us%2Fer:p:w@host/a", "//other/b", "http://other/b", False),
        ("https://us%2Fer:p:w@host/a", "http://host/", "http://host/", False),
        ("http://host/", "http://us%2Fer:p:w@other/", "http://other/", True),
    ],
)
def test_credentials_go_to_the_same_server_only(
    start: str, location: str, url: str, trusted: bool
) -> None:
    """Same host and port, or its https; a location's own credentials are for its host."""
    hop = next_target(first_target(start), location)
    assert (hop.url, hop.authorization) == (url, BASIC if trusted else None)


@pytest.mark.parametrize("location", [None, "file:///etc/passwd", "http://[", "http://h/\n"])
def test_a_bad_location_is_refused(location: str | None) -> None:
    """Every hop is checked as the first URL is."""
    with pytest.raises(DownloadError, match=r"^http://host/a: a redirect "):
        next_target(first_target("http://host/a?secret"), location)


def test_a_bad_url_is_refused() -> None:
    """Also one that nobody has checked before."""
    with pytest.raises(DownloadError, match="expected a URL with a host"):
        first_target("http://")
