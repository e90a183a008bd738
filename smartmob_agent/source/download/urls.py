"""URLs of sources: which are valid, and how messages show them.  Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

__all__ = ["check_characters", "check_source_url", "public_url"]

SCHEMES = ("http", "https")

# Programs do not agree on where the host ends when one of these is in the URL.
FORBIDDEN = frozenset('\\"<>^`{|}')

UNREADABLE = "(a URL that cannot be read)"


def check_source_url(url: str) -> None:
    """Raise `ValueError` if no archive can be downloaded from `url`.

    The message says what was expected, and quotes only the scheme of the URL.
    """
    check_characters(url)
    parts = _split(url)
    if parts.scheme not in SCHEMES:
        found = repr(parts.scheme) if parts.scheme.isalnum() else "none"
        raise ValueError(f"expected a URL with the scheme http or https, found {found}")
    if not parts.hostname:
        raise ValueError("expected a URL with a host")
    try:
        port = parts.port
    except ValueError as exc:
        raise ValueError("expected a URL with a port from 1 to 65535") from exc
    if port == 0:
        raise ValueError("expected a URL with a port from 1 to 65535, found 0")


def check_characters(url: str) -> None:
    """Raise `ValueError` for characters that no URL may have, not even a relative one."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("expected a URL without white space and control characters")
    if not FORBIDDEN.isdisjoint(url):
        raise ValueError(f"expected a URL without any of {''.join(sorted(FORBIDDEN))}")


def public_url(url: str) -> str:
    """`url` as it may be shown: without credentials, query and fragment, on one line."""
    try:
        parts = _split(url)
    except ValueError:
        return UNREADABLE
    if parts.scheme not in SCHEMES:  # the text before the first colon may be a secret
        return UNREADABLE
    host = parts.netloc.rpartition("@")[2]
    shown = f"{parts.scheme}://{host}{parts.path}"
    return "".join(character if character.isprintable() else "?" for character in shown)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as exc:  # such as a bracket that is not closed
        raise ValueError("expected a URL, found something that cannot be read") from exc
