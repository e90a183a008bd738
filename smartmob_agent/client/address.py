"""Where an agent is found: http, https, or a Unix socket.  Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from smartmob_agent.client.errors import AddressError

__all__ = ["Address", "parse_address"]

_PORTS = {"http": 80, "https": 443}
_UNIX = "unix:"


@attrs.frozen(kw_only=True)
class Address:
    """Where an agent is found.

    text: as it was given.
    base: begins all URLs, without a slash at the end.
    unix: path of the socket, or None for TCP.
    """

    text: str
    base: str
    host: str
    port: int
    tls: bool = False
    unix: str | None = None

    @property
    def authority(self) -> str:
        """Host and port as the `Host` header has them."""
        return urlsplit(self.base).netloc

    @property
    def prefix(self) -> str:
        """Path below which the agent is found, without a slash at the end."""
        return urlsplit(self.base).path


def parse_address(text: str) -> Address:
    """Read `http://HOST[:PORT][/PATH]`, the same with https, or `unix:PATH`.

    Raises `AddressError`.
    """
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        path = path[2:] if path.startswith("//") else path
        if not path or "\0" in path:
            raise AddressError(f"expected unix: and the path of a socket, found {text!a}")
        # No name leads to a Unix socket: any Host will do.
        return Address(text=text, base="http://localhost", host="localhost", port=80, unix=path)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise AddressError(f"expected the URL of an agent: {exc}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise AddressError(
            f"expected http://HOST:PORT, https://HOST:PORT or unix:PATH, found {_shown(text)!a}"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise AddressError("expected the URL of an agent without user, query and fragment")
    return Address(
        text=text,
        base=f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/"),
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        tls=parts.scheme == "https",
    )


def _shown(text: str) -> str:
    """Without what may be a secret."""
    return text.rpartition("@")[2].partition("?")[0]
