"""The requests of one download: where a redirect leads, and who sees the credentials.  Pure."""

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
    """One request.

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
    """The request for `url`; raises `DownloadError` for one that cannot be asked for."""
    try:
        check_source_url(url)
    except ValueError as exc:
        raise DownloadError(f"{public_url(url)}: {exc}") from exc
    return _hop(url)


def next_target(hop: RequestTarget, location: str | None) -> RequestTarget:
    """The request that a redirect asks for.

    Credentials go on only to the same host and port, and never from https to http.

    Raises `DownloadError` for a location that is missing or leads nowhere.
    """
    if location is None:
        raise DownloadError(f"{hop.shown}: a redirect without a Location")
    try:
        check_characters(location)  # joining would drop some of them
        url = urljoin(hop.url, location)
        check_source_url(url)
    except ValueError as exc:
        raise DownloadError(f"{hop.shown}: a redirect that cannot be followed: {exc}") from exc
    following = _hop(url)
    if following.authorization is None and _trusts(urlsplit(hop.url), urlsplit(url)):
        return attrs.evolve(following, authorization=hop.authorization)
    return following


def _hop(url: str) -> RequestTarget:
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
    """Whether `new` may see what was meant for `old`: the same server, or its https."""
    if old.hostname != new.hostname:
        return False
    ports = tuple(parts.port or PORTS[parts.scheme] for parts in (old, new))
    if old.scheme == new.scheme:
        return ports[0] == ports[1]
    return ports == (PORTS["http"], PORTS["https"])
