"""Headers of tar archives, and the numbers in them.  Pure."""

from __future__ import annotations

import attrs

from smartmob_agent.errors import UnpackError
from smartmob_agent.source.archive.tar_input import BLOCK_BYTES

__all__ = ["END", "TarHeader", "is_tar", "parse_decimal", "parse_header", "parse_number"]

END = bytes(BLOCK_BYTES)

USTAR, GNU = b"ustar\0", b"ustar "
"""The magics of POSIX and of GNU tar, which has other fields in the place of the prefix."""

ASCII = bytes(range(128))


@attrs.frozen(kw_only=True)
class TarHeader:
    """A header of a member, or of what extends one.

    block: the bytes of all of it.
    """

    name: bytes
    mode: int
    size: int
    type: bytes
    target: bytes
    block: bytes

    @property
    def is_ustar(self) -> bool:
        return self.block[257:263] == USTAR

    @property
    def is_gnu(self) -> bool:
        return self.block[257:263] == GNU


def is_tar(block: bytes) -> bool:
    """Whether an archive that begins with `block` is a tar archive, perhaps an empty one.

    The checksum decides: the old format has no other mark.
    """
    if len(block) < BLOCK_BYTES:
        return False
    if block == END:
        return True
    expected = _octal(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    total = sum(rest)
    # Some old programs added up signed bytes.
    return expected == total or expected == total - 256 * len(rest.translate(None, ASCII))


def parse_header(block: bytes) -> TarHeader:
    """Parse a block that is not `END`; raises `UnpackError` if it is no header."""
    if not is_tar(block):
        raise UnpackError("the tar archive is damaged: wrong checksum of a header")
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0]
    if block[257:263] == USTAR and prefix:
        name = prefix + b"/" + name
    return TarHeader(
        name=name,
        mode=parse_number(block[100:108]),
        size=parse_number(block[124:136]),
        type=block[156:157],
        target=block[157:257].partition(b"\0")[0],
        block=block,
    )


def parse_number(field: bytes) -> int:
    """Parse octal digits, or GNU tar's base 256 for larger numbers; never below 0."""
    value = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    if value is None:
        raise UnpackError(f"the tar archive is damaged: expected a number, found {field!r}")
    return value


def parse_decimal(text: str) -> int:
    """Parse a size in a pax header; never below 0."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise UnpackError(f"the tar archive is damaged: expected a size, found {text[:20]!r}")
    return int(text)


def _octal(field: bytes) -> int | None:
    digits = field.partition(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        return None
    return int(digits or b"0", 8)
