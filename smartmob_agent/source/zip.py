"""Zip archives, in bounded memory.

Written by hand, after APPNOTE.TXT 6.3.10 of PKWARE, because the standard library reads the
whole directory into memory, a thousand bytes for each entry, and drops execute bits.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import attrs

from smartmob_agent.errors import DownloadError, UnpackError
from smartmob_agent.source.members import Kind, Member, decode_name, refusal

__all__ = ["MAGICS", "zip_members"]

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
"""An archive begins with its first member or, empty, with its end."""

CHUNK_BYTES = 64 * 1024

END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
ENTRY = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
COMMENT_BYTES = 0xFFFF

ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
UTF8 = 1 << 11
STORED, DEFLATED = 0, 8

FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF
"""Too small a field: the value stands in the zip64 part (4.3.9.6)."""
ZIP64 = 0x0001

KINDS = {
    0: Kind.FILE,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
}

TARGET_BYTES = 4096


@attrs.frozen(kw_only=True)
class _Entry:
    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    mode: int
    offset: int


def zip_members(
    directory: BinaryIO, content: BinaryIO, *, limit: int
) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """The members of an archive, each with its content in pieces of at most 64 KiB.

    directory, content: the same archive, opened twice.
    limit: of members; `DownloadError` if there are more.

    Raises `UnpackError` when the archive is damaged, cut short or encrypted, or holds what
    is neither file nor directory nor symbolic link.
    """
    count, offset = _find_directory(directory)
    left = content.seek(0, os.SEEK_END)
    if count > limit:
        raise DownloadError(f"expected at most {limit} members in the archive, found {count}")
    _seek(directory, offset)
    for _ in range(count):
        entry = _read_entry(directory)
        left -= entry.packed_size
        if left < 0:
            raise _damaged("its members overlap")
        kind = KINDS.get(stat.S_IFMT(entry.mode))
        if kind is None:
            raise refusal(entry.name, "expected a file, directory or link")
        if kind is Kind.FILE and entry.name.endswith("/"):
            kind = Kind.DIRECTORY
        data = _content(content, entry)
        target = _target(entry, data) if kind is Kind.SYMLINK else ""
        mode = entry.mode & 0o7777 if entry.mode else None
        size = entry.size if kind is Kind.FILE else 0
        yield Member(name=entry.name, kind=kind, mode=mode, size=size, target=target), data


def _find_directory(file: BinaryIO) -> tuple[int, int]:
    """Number of entries, and where the first one is."""
    size = file.seek(0, os.SEEK_END)
    start = max(size - END.size - COMMENT_BYTES, 0)
    file.seek(start)
    tail = file.read(END.size + COMMENT_BYTES)
    at = tail.rfind(b"PK\x05\x06", 0, max(len(tail) - END.size + 4, 0))
    if at < 0:
        raise UnpackError("the zip archive is cut short: it has no directory at its end")
    _, disk, first_disk, _, count, _, offset, _ = END.unpack_from(tail, at)
    if FULL_16 in {disk, first_disk, count} or offset == FULL_32:
        return _find_directory64(file, start + at)
    if disk or first_disk:
        raise UnpackError("expected a zip archive in one file, found one of several disks")
    return count, offset


def _find_directory64(file: BinaryIO, end: int) -> tuple[int, int]:
    file.seek(max(end - END64_LOCATOR.size, 0))
    signature, _, offset, _ = _unpack(file, END64_LOCATOR)
    if signature != b"PK\x06\x07":
        raise _damaged("no zip64 directory")
    _seek(file, offset)
    signature, *_, count, _, offset = _unpack(file, END64)
    if signature != b"PK\x06\x06":
        raise _damaged("no zip64 directory")
    return count, offset


def _read_entry(file: BinaryIO) -> _Entry:
    signature, *fields = _unpack(file, ENTRY)
    _, _, flags, method, _, _, crc, packed_size, size, *fields = fields
    name_size, extra_size, comment_size, _, _, attributes, offset = fields
    if signature != b"PK\x01\x02":
        raise _damaged("no entry where one should be")
    raw_name = _exactly(file, name_size)
    # Without the flag it is code page 437 by the book, and UTF-8 in practice.
    name = decode_name(raw_name) if flags & UTF8 else _legacy_name(raw_name)
    extra = _exactly(file, extra_size)
    file.seek(comment_size, os.SEEK_CUR)
    size, packed_size, offset = _widen(extra, [size, packed_size, offset])
    return _Entry(
        raw_name=raw_name,
        name=name,
        flags=flags,
        method=method,
        crc=crc,
        packed_size=packed_size,
        size=size,
        mode=attributes >> 16,
        offset=offset,
    )


def _legacy_name(raw_name: bytes) -> str:
    try:
        return raw_name.decode("utf-8")
    except UnicodeDecodeError:
        return raw_name.decode("cp437")


def _widen(extra: bytes, values: list[int]) -> list[int]:
    """Replace the values that are too large for 32 bits, in the order of 4.5.3."""
    at = 0
    while at + 4 <= len(extra):
        key, size = struct.unpack_from("<2H", extra, at)
        if key == ZIP64:
            packed = extra[at + 4 : at + 4 + size]
            wide = (value for (value,) in struct.iter_unpack("<Q", packed[: len(packed) & ~7]))
            return [next(wide, value) if value == FULL_32 else value for value in values]
        at += 4 + size
    return values


def _target(entry: _Entry, data: Iterator[bytes]) -> str:
    if entry.size > TARGET_BYTES:
        raise refusal(entry.name, f"expected a link of at most {TARGET_BYTES} bytes")
    return decode_name(b"".join(data))


def _content(file: BinaryIO, entry: _Entry) -> Iterator[bytes]:
    """The content of an entry, checked against its size and checksum."""
    if entry.flags & ENCRYPTED:
        raise refusal(entry.name, "expected no encryption")
    _seek(file, entry.offset)
    signature, *_, name_size, extra_size = _unpack(file, LOCAL)
    if signature != b"PK\x03\x04" or _exactly(file, name_size) != entry.raw_name:
        raise _damaged(f"{entry.name!r} is not where the directory has it")
    file.seek(extra_size, os.SEEK_CUR)
    if entry.method == STORED:
        pieces = _packed(file, entry)
    elif entry.method == DEFLATED:
        pieces = _inflated(file, entry)
    else:
        raise refusal(entry.name, f"expected stored or deflated, found method {entry.method}")
    size, crc = 0, 0
    for piece in pieces:
        size += len(piece)
        if size > entry.size:
            break
        crc = zlib.crc32(piece, crc)
        yield piece
    if (size, crc) != (entry.size, entry.crc):
        raise _damaged(f"{entry.name!r} has not the size and checksum that it should have")


def _packed(file: BinaryIO, entry: _Entry) -> Iterator[bytes]:
    left = entry.packed_size
    while left:
        piece = file.read(min(left, CHUNK_BYTES))
        if not piece:
            raise UnpackError("the zip archive is cut short")
        left -= len(piece)
        yield piece


def _inflated(file: BinaryIO, entry: _Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _packed(file, entry):
            data = packed
            while True:
                piece = inflater.decompress(data, CHUNK_BYTES)
                yield piece
                if inflater.eof:
                    return
                data = inflater.unconsumed_tail
                if not data and len(piece) < CHUNK_BYTES:
                    break
    except zlib.error as exc:
        raise _damaged(f"{entry.name!r} cannot be inflated: {exc}") from exc


def _seek(file: BinaryIO, offset: int) -> None:
    if offset >= 1 << 63:
        raise _damaged("an offset outside")
    file.seek(offset)


def _unpack(file: BinaryIO, structure: struct.Struct) -> tuple[Any, ...]:
    return structure.unpack(_exactly(file, structure.size))


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise UnpackError("the zip archive is cut short")
    return data


def _damaged(why: str) -> UnpackError:
    return UnpackError(f"the zip archive is damaged: {why}")
