"""The last known ETag of each URL, in files.  Synchronous: for threads."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import attrs

__all__ = ["KnownETag", "etag_path", "read_etag", "write_etag"]

_LINE = re.compile(r"([0-9a-f]{64}) (\S{2,1024})\n")


@attrs.frozen(kw_only=True)
class KnownETag:
    """The digest of the archive that a URL had, and the ETag by which its server knows it."""

    sha256: str
    etag: str


def etag_path(directory: Path, url: str) -> Path:
    """The file for a URL.

    Its name is a digest: the URL may have credentials, which must not get onto a disk.
    """
    return directory / hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def read_etag(path: Path) -> KnownETag | None:
    """Read a file; None if there is none, or none that can be read."""
    try:
        match = _LINE.fullmatch(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return KnownETag(sha256=match[1], etag=match[2]) if match else None


def write_etag(path: Path, known: KnownETag, scratch: Path) -> None:
    """Replace a file at once.

    scratch: path of a temporary file, on the same disk.
    """
    scratch.write_text(f"{known.sha256} {known.etag}\n", encoding="utf-8")
    scratch.replace(path)
