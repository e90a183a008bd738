"""Records of pax headers (pax(1) of POSIX.1-2017).  Pure."""

from __future__ import annotations

from smartmob_agent.errors import UnpackError
from smartmob_agent.source.archive.members import decode_name

__all__ = ["PART_OF_FILE", "SPARSE_MAP", "UNKNOWN_SPARSE", "parse_pax"]

NEWLINE = 0x0A

NAMES = frozenset({"GNU.sparse.name", "linkpath", "path"})
NUMBERS = frozenset(
    {"GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.realsize", "GNU.sparse.size", "size"}
)

SPARSE_MAP = "GNU.sparse.map"
SPARSE_PARTS = ("GNU.sparse.offset", "GNU.sparse.numbytes")
"""The map in the oldest format, where each number is a record of its own."""

UNKNOWN_SPARSE = "sparse"
FOREIGN_SPARSE = ("SCHILY.realsize", "SUN.holesdata")
"""Marks of sparse files by star and Solaris."""

PART_OF_FILE = "GNU.volume.filename"


def parse_pax(data: bytes) -> dict[str, str]:
    """Parse the records `LENGTH KEY=VALUE\\n` that matter: key → value.

    `SPARSE_MAP` has the numbers of all maps, `UNKNOWN_SPARSE` is set for those of other programs.
    """
    records: dict[str, str] = {}
    parts: list[str] = []
    start = 0
    while start < len(data):
        blank = data.find(b" ", start, start + 20)
        length = _octet_count(data[start:blank]) if blank > 0 else 0
        end = start + length
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        fits = blank + 1 < end <= len(data)  # also: at least one step on
        if not (equals and fits and data[end - 1] == NEWLINE):
            raise _damaged_pax()
        name = key.decode("ascii", "replace")
        if name in NAMES:
            records[name] = decode_name(value)
        elif name in NUMBERS or name == SPARSE_MAP:
            records[name] = value.decode("ascii", "replace")
        elif name in SPARSE_PARTS:
            if name != SPARSE_PARTS[len(parts) % 2]:
                raise _damaged_pax()
            parts.append(value.decode("ascii", "replace"))
        elif name in FOREIGN_SPARSE:
            records[UNKNOWN_SPARSE] = ""
        elif name == PART_OF_FILE:
            records[name] = ""
        start = end
    if parts:
        records[SPARSE_MAP] = ",".join(parts)
    return records


def _octet_count(digits: bytes) -> int:
    return int(digits) if digits.isdigit() else 0


def _damaged_pax() -> UnpackError:
    return UnpackError("the tar archive is damaged: a pax header that cannot be read")
