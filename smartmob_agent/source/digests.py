"""SHA-256 digests in hexadecimal, and the URLs of archives that were uploaded.  Pure."""

from __future__ import annotations

import re

__all__ = ["DIGEST", "SCHEME", "check_digest", "digest_of_upload", "upload_url"]

SCHEME = "smartmob:"

_PREFIX = f"{SCHEME}sha256:"
DIGEST = re.compile("[0-9A-Fa-f]{64}")


def check_digest(text: str) -> str:
    """Return a digest in lower case; raises `ValueError` for other text."""
    if not DIGEST.fullmatch(text):
        raise ValueError("expected 64 hexadecimal digits")
    return text.lower()


def upload_url(sha256: str) -> str:
    """The URL of an uploaded archive, for create requests."""
    return f"{_PREFIX}{sha256}"


def digest_of_upload(url: str) -> str | None:
    """The digest in the URL of an upload; None for any other URL.

    Raises `ValueError` when the URL has the scheme of an upload but no digest.
    """
    if not url.startswith(SCHEME):
        return None
    try:
        return check_digest(url.removeprefix(_PREFIX))
    except ValueError as exc:
        raise ValueError(f"expected {_PREFIX} and 64 hexadecimal digits") from exc
