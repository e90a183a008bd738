"""Sparse files of tar archives: which parts of a file are there; the rest is zeros.

Formats: the old one of GNU tar, and its pax formats 0.0, 0.1 and 1.0 (manual of GNU tar, "Storing
Sparse Files").  bsdtar writes 1.0 without being asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from smartmob_agent.source.archive.members import Content, Hole, excess, refusal
from smartmob_agent.source.archive.pax import SPARSE_MAP
from smartmob_agent.source.archive.tar_header import TarHeader, parse_decimal, parse_number
from smartmob_agent.source.archive.tar_input import BLOCK_BYTES, TarInput

__all__ = ["SparseFile", "map_after_header", "map_in_content", "map_in_pax", "sparse_format"]

PARTS = 65_536
"""Limit for one file: each part takes memory, and about as much time as a small file."""

# Of the old format: where the header has its parts, whether more follow, and the size.
HEADER_PARTS, HEADER_MORE, HEADER_SIZE = slice(386, 482), 482, slice(483, 495)
BLOCK_PARTS, BLOCK_MORE = slice(0, 504), 504


@attrs.frozen(kw_only=True)
class SparseFile:
    """A file with holes.

    size: with its holes.
    numbers: offset and size of each part, in order.
    """

    name: str
    size: int
    numbers: Sequence[int]

    def check(self, stored: int) -> None:
        """Raise `UnpackError` unless the parts fit the file and the bytes that are stored of it."""
        at = total = 0
        for offset, size in self._parts():
            if offset < at:
                raise refusal(self.name, "expected the parts of a sparse file in order")
            at = offset + size
            total += size
        if len(self.numbers) % 2 or at > self.size or total != stored:
            raise refusal(self.name, "expected a sparse file of the size of its parts")

    def content(self, source: TarInput, stored: int) -> Content:
        """Read the parts, which are stored one behind the other."""
        at = 0
        for offset, size in [*self._parts(), (self.size, 0)]:
            if offset > at:
                yield Hole(offset - at)
            yield from source.pieces(size)
            at = offset + size
        source.skip_padding(stored)

    def _parts(self) -> zip[tuple[int, int]]:
        return zip(self.numbers[::2], self.numbers[1::2], strict=False)


def sparse_format(header: TarHeader, extra: Mapping[str, str]) -> str | None:
    """The format of a sparse file, "old", "0" or "1.0"; None for another file, empty if unknown."""
    if header.type == b"S":
        return "old" if header.is_gnu else ""
    if not any(key.startswith("GNU.sparse.") for key in extra):
        return None
    version = extra.get("GNU.sparse.major", "0"), extra.get("GNU.sparse.minor", "0")
    return {"0": "0", "1": "1.0" if version[1] == "0" else ""}.get(version[0], "")


def map_in_pax(name: str, extra: Mapping[str, str]) -> SparseFile:
    """Read the map of the formats 0.0 and 0.1, which is in the pax header."""
    text = extra.get(SPARSE_MAP, "")
    _check_parts(name, text.count(",") // 2)
    numbers = [parse_decimal(number) for number in text.split(",")] if text else []
    return SparseFile(name=name, size=_pax_size(extra, "GNU.sparse.size"), numbers=numbers)


def map_in_content(
    name: str, extra: Mapping[str, str], source: TarInput, stored: int
) -> tuple[SparseFile, int]:
    """Read the map of the format 1.0, which is in front of the content, and its size in bytes.

    Its first line is the number of parts, and each further one a number.

    stored: bytes of both.
    """
    text, lines, wanted = bytearray(), 0, 1
    while lines < wanted:
        # A number takes 20 bytes at most, with its line end.
        if len(text) >= min(stored, BLOCK_BYTES + 20 * wanted):
            raise refusal(name, "expected the map of a sparse file")
        block = source.block()
        text += block
        lines += block.count(b"\n")
        if wanted == 1 and lines:
            parts = _line_number(bytes(text).partition(b"\n")[0])
            _check_parts(name, parts)
            wanted = 1 + 2 * parts
    numbers = [_line_number(line) for line in bytes(text).split(b"\n")[1:wanted]]
    size = _pax_size(extra, "GNU.sparse.realsize")
    return SparseFile(name=name, size=size, numbers=numbers), len(text)


def map_after_header(name: str, header: TarHeader, source: TarInput) -> SparseFile:
    """Read the map of the old format, in the header and in blocks of its own."""
    block, parts, more = header.block, HEADER_PARTS, HEADER_MORE
    numbers: list[int] = []
    while True:
        fields = block[parts]
        for at in range(0, len(fields), 24):
            if not fields[at + 12]:
                break
            numbers += (parse_number(fields[at : at + 12]), parse_number(fields[at + 12 : at + 24]))
        _check_parts(name, len(numbers) // 2)
        if not block[more]:
            break
        block, parts, more = source.block(), BLOCK_PARTS, BLOCK_MORE
    return SparseFile(name=name, size=parse_number(header.block[HEADER_SIZE]), numbers=numbers)


def _pax_size(extra: Mapping[str, str], key: str) -> int:
    return parse_decimal(extra.get(key, ""))


def _line_number(line: bytes) -> int:
    return parse_decimal(line.decode("ascii", "replace"))


def _check_parts(name: str, count: int) -> None:
    if count > PARTS:
        raise excess(name, f"sparse files of at most {PARTS} parts")
