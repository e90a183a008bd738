"""Notes on URLs: which archive was found there.  Synchronous: for threads."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import attrs

__all__ = ["KnownETag", "etag_path", "read_etag", "write_etag"]

_NOTE = re.compile(r"([0-9a-f]{64}) (\S{2,1024})\n")


@attrs.frozen(kw_only=True)
class KnownETag:
    """What was found at a URL: a digest, and the ETag that stands for these bytes there."""

    sha256: str
    etag: str


def etag_path(directory: Path, url: str) -> Path:
    """Where the note on a URL is.

    Its name is a digest: the URL may hold credentials, which have no business on a disk.
    """
    return directory / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def read_etag(path: Path) -> KnownETag | None:
    """Return a note; None if there is none that can be read."""
    try:
        match = _NOTE.fullmatch(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return KnownETag(sha256=match[1], etag=match[2]) if match else None


def write_etag(path: Path, note: KnownETag, scratch: Path) -> None:
    """Write a note in the place of an older one.

    scratch: a file to be made, on the same disk.
    """
    scratch.write_text(f"{note.sha256} {note.etag}\n", encoding="utf-8")
    scratch.replace(path)
