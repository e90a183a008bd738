"""Redirects of a download: where they lead, and which servers get the credentials.  Pure."""

from __future__ import annotations

import base64
from urllib.parse import SplitResult, unquote_to_bytes, urljoin, urlsplit

import attrs

from smartmob_agent.errors import DownloadError
from smartmob_agent.source.download.urls import check_characters, check_source_url, public_url

__all__ = ["RequestTarget", "first_target", "next_target"]

PORTS = {"http": 80, "https": 443}


@attrs.frozen(kw_only=True)
class RequestTarget:
    """The target of one request.

    url: without credentials and fragment.
    authorization: value of the header, None for none.
    """

    url: str
    authorization: str | None = attrs.field(repr=False)

    @property
    def shown(self) -> str:
        """The URL as messages may name it."""
        return public_url(self.url)


def first_target(url: str) -> RequestTarget:
    """The target for `url`; raises `DownloadError` for a URL that cannot be requested."""
    try:
        check_source_url(url)
    except ValueError as exc:
        raise DownloadError(f"{public_url(url)}: {exc}") from exc
    return _target(url)


def next_target(target: RequestTarget, location: str | None) -> RequestTarget:
    """The target of a redirect.

    Credentials are kept only for the same host and port, and never from https to http.

    Raises `DownloadError` for a location that is missing or cannot be requested.
    """
    if location is None:
        raise DownloadError(f"{target.shown}: a redirect without a Location")
    try:
        check_characters(location)  # urljoin would drop some of them
        url = urljoin(target.url, location)
        check_source_url(url)
    except ValueError as exc:
        raise DownloadError(f"{target.shown}: a redirect that cannot be followed: {exc}") from exc
    following = _target(url)
    if following.authorization is None and _trusts(urlsplit(target.url), urlsplit(url)):
        return attrs.evolve(following, authorization=target.authorization)
    return following


def _target(url: str) -> RequestTarget:
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    authorization = None
    if at:
        user, _, password = userinfo.partition(":")
        token = base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password))
        authorization = f"Basic {token.decode()}"
    bare = parts._replace(netloc=host, fragment="")
    return RequestTarget(url=bare.geturl(), authorization=authorization)


def _trusts(old: SplitResult, new: SplitResult) -> bool:
    """Whether credentials for `old` may go to `new`: the same server, or its https."""
    if old.hostname != new.hostname:
        return False
    ports = tuple(parts.port or PORTS[parts.scheme] for parts in (old, new))
    if old.scheme == new.scheme:
        return ports[0] == ports[1]
    return ports == (PORTS["http"], PORTS["https"])
