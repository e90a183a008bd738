"""URLs of sources."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from smartmob_agent.source.download.urls import check_source_url, public_url


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "HTTPS://host:443/a/b.zip?c=d#e",
        "http://user:pass@host:1/",
        "http://[::1]:65535/é",
    ],
)
def test_web_urls_are_taken(url: str) -> None:
    """Whatever a web server can be asked for."""
    check_source_url(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "expected a URL with the scheme http or https, found none"),
        ("ftp://host/", "expected a URL with the scheme http or https, found 'ftp'"),
        ("file:///etc/passwd", "expected a URL with the scheme http or https, found 'file'"),
        ("http:", "expected a URL with a host"),
        ("http:///a", "expected a URL with a host"),
        ("http://:80/", "expected a URL with a host"),
        ("http://user@/", "expected a URL with a host"),
        ("http://host:x/", "expected a URL with a port from 1 to 65535"),
        ("http://host:65536/", "expected a URL with a port from 1 to 65535"),
        ("http://host:0/", "expected a URL with a port from 1 to 65535, found 0"),
        ("http://[::1/", "expected a URL, found something that cannot be read"),
        ("http://h ost/", "expected a URL without white space and control characters"),
        ("http://host/\r\nX: y", "expected a URL without white space and control characters"),
        ("http://host\\@other/", 'expected a URL without any of "<>\\^`{|}'),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=r"^expected") as info:
        check_source_url(url)
    assert str(info.value) == message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@host:8/a/b.zip?secret#secret", "https://host:8/a/b.zip"),
        ("http://user:se@cret@host", "http://host"),
        ("http://host/\ud800\x7f", "http://host/??"),
        ("secret://host/", "(a URL that cannot be read)"),
        ("http://[secret", "(a URL that cannot be read)"),
    ],
)
def test_secrets_are_not_shown(url: str, shown: str) -> None:
    """Neither credentials nor query nor fragment."""
    assert public_url(url) == shown


@settings(deadline=None)
@given(st.text() | st.text("ht:p/@?#[]\\x.\n ").map("http://".__add__))
def test_any_text_is_checked_and_shown(url: str) -> None:
    """Nothing but ValueError, and one line."""
    assert public_url(url).isprintable()
    try:
        check_source_url(url)
    except ValueError as exc:
        message = str(exc)
    else:
        return
    assert message.isprintable()
