"""Zip archives, in bounded memory.

Written by hand, after APPNOTE.TXT 6.3.10 of PKWARE, because the standard library reads the
whole directory into memory and drops execute bits.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from smartmob_agent.errors import DownloadError
from smartmob_agent.source.archive.members import (
    Content,
    Member,
    MemberKind,
    decode_name,
    refusal,
)
from smartmob_agent.source.archive.zip_directory import (
    ZipDirectory,
    ZipEntry,
    exactly,
    find_directory,
    read_entries,
    read_struct,
    seek,
)

__all__ = ["MAGICS", "zip_members"]

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
"""An archive begins with its first member or, empty, with its end; else something is in front."""

CHUNK_BYTES = 64 * 1024

LOCAL = struct.Struct("<4s5H3L2H")
ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
STORED, DEFLATED = 0, 8

KINDS = {
    0: MemberKind.FILE,
    stat.S_IFREG: MemberKind.FILE,
    stat.S_IFDIR: MemberKind.DIRECTORY,
    stat.S_IFLNK: MemberKind.SYMLINK,
}

TARGET_BYTES = 4096


def zip_members(
    directory: BinaryIO, content: BinaryIO, *, limit: int
) -> Iterator[tuple[Member, Content]]:
    """The members of an archive, each with its content in pieces of at most 64 KiB.

    directory, content: the same archive, opened twice.
    limit: of members.

    Raises `UnpackError` at once when the archive has no directory, `DownloadError` when that
    has too many members.  The iterator raises `UnpackError` when the archive is damaged, cut
    short or encrypted, or holds what is neither file nor directory nor symbolic link.
    """
    found = find_directory(directory)
    if found.count > limit:
        raise DownloadError(f"expected at most {limit} members in the archive, found {found.count}")
    return _members(directory, found, content)


def _members(
    file: BinaryIO, directory: ZipDirectory, content: BinaryIO
) -> Iterator[tuple[Member, Content]]:
    left = content.seek(0, os.SEEK_END)
    for entry in read_entries(file, directory):
        left -= entry.packed_size
        if left < 0:
            raise refusal(entry.name, "it overlaps another member")
        kind = KINDS.get(stat.S_IFMT(entry.mode))
        if kind is None:
            raise refusal(entry.name, "expected a file, directory or link")
        if kind is MemberKind.FILE and entry.name.endswith("/"):
            kind = MemberKind.DIRECTORY
        data = _content(content, entry)
        target = _target(entry, data) if kind is MemberKind.SYMLINK else ""
        mode = entry.mode & 0o7777 if entry.mode else None
        size = entry.size if kind is MemberKind.FILE else 0
        yield Member(name=entry.name, kind=kind, mode=mode, size=size, target=target), data


def _target(entry: ZipEntry, data: Iterator[bytes]) -> str:
    if entry.size > TARGET_BYTES:
        raise refusal(entry.name, f"expected a link of at most {TARGET_BYTES} bytes")
    return decode_name(b"".join(data))


def _content(file: BinaryIO, entry: ZipEntry) -> Iterator[bytes]:
    """The content of an entry, checked against its size and checksum."""
    if entry.flags & ENCRYPTED:
        raise refusal(entry.name, "expected no encryption")
    seek(file, entry.offset)
    signature, *_, name_size, extra_size = read_struct(file, LOCAL)
    if signature != b"PK\x03\x04" or exactly(file, name_size) != entry.raw_name:
        raise refusal(entry.name, "it is not where the directory of the archive has it")
    if extra_size:
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
        raise refusal(entry.name, "it has not the size and checksum that it should have")


def _packed(file: BinaryIO, entry: ZipEntry) -> Iterator[bytes]:
    left = entry.packed_size
    while left:
        piece = file.read(min(left, CHUNK_BYTES))
        if not piece:
            raise refusal(entry.name, "it is cut short")
        left -= len(piece)
        yield piece


def _inflated(file: BinaryIO, entry: ZipEntry) -> Iterator[bytes]:
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
        raise refusal(entry.name, f"it cannot be inflated: {exc}") from exc
