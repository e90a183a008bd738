"""The directory at the end of a zip archive, read entry by entry.

Written by hand, after APPNOTE.TXT 6.3.10 of PKWARE, because the standard library reads the
whole directory into memory, a thousand bytes for each entry.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import attrs

from smartmob_agent.errors import CutShortError, UnpackError
from smartmob_agent.source.archive.members import decode_name

__all__ = [
    "ZipDirectory",
    "ZipEntry",
    "damaged",
    "ends_as_zip",
    "exactly",
    "find_directory",
    "read_entries",
    "read_struct",
    "seek",
]

END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
ENTRY = struct.Struct("<4s6H3L5H2L")
ENTRY_SIGNATURE = b"PK\x01\x02"
COMMENT_BYTES = 0xFFFF

UTF8 = 1 << 11

FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF
"""The value does not fit the field, and is in the zip64 part (4.3.9.6)."""
ZIP64 = 0x0001

DOS_HOSTS = {0, 10, 11, 14}
"""Systems with backslashes between directories: FAT, NTFS (10, or 11 to Info-ZIP), VFAT."""


@attrs.frozen(kw_only=True)
class ZipDirectory:
    """The place of the directory.

    count: of its entries.
    size, offset: in bytes.
    shift: bytes in front of the archive that its offsets do not count, such as a program that
        unpacks it.
    """

    count: int
    size: int
    offset: int
    shift: int


@attrs.frozen(kw_only=True)
class ZipEntry:
    """What the directory says about a member.

    mode: of the file, with its type; 0 if the directory has none.
    offset: of the member itself, which starts with a header of its own.
    """

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    mode: int
    offset: int


def find_directory(file: BinaryIO) -> ZipDirectory:
    """Find the directory; raises `UnpackError` where there is none."""
    size = file.seek(0, os.SEEK_END)
    start = max(size - END.size - COMMENT_BYTES, 0)
    file.seek(start)
    tail = file.read(END.size + COMMENT_BYTES)
    at = tail.rfind(b"PK\x05\x06", 0, max(len(tail) - END.size + 4, 0))
    if at < 0:
        raise CutShortError("the zip archive is cut short: it has no directory at its end")
    _, disk, first_disk, _, count, length, offset, _ = END.unpack_from(tail, at)
    if FULL_16 in {disk, first_disk, count} or FULL_32 in {length, offset}:
        return _find_directory64(file, start + at)
    if disk or first_disk:
        raise UnpackError("expected a zip archive in one file, found one of several disks")
    return _placed(file, start + at, count, length, offset)


def ends_as_zip(file: BinaryIO) -> bool:
    """Whether a file that begins as something else is a zip archive by its end.

    Raises the `UnpackError` of `find_directory` for a part of one.
    """
    try:
        directory = find_directory(file)
    except CutShortError:
        return False
    return directory.count > 0 and _has_entry(file, directory.offset)


def _placed(file: BinaryIO, end: int, count: int, size: int, offset: int) -> ZipDirectory:
    """A directory that ends at `end`, if there is something in front of the archive."""
    shift = end - size - offset
    if shift <= 0 or not _has_entry(file, offset + shift):
        shift = 0
    return ZipDirectory(count=count, size=size, offset=offset + shift, shift=shift)


def _has_entry(file: BinaryIO, at: int) -> bool:
    seek(file, at)
    return file.read(len(ENTRY_SIGNATURE)) == ENTRY_SIGNATURE


def _find_directory64(file: BinaryIO, end: int) -> ZipDirectory:
    locator = max(end - END64_LOCATOR.size, 0)
    file.seek(locator)
    signature, _, at, _ = read_struct(file, END64_LOCATOR)
    if signature != b"PK\x06\x07":
        raise damaged("no zip64 directory")
    # Where something is in front that does not count, the record is right before its locator.
    for place in (at, max(locator - END64.size, 0)):
        seek(file, place)
        signature, *_, count, length, offset = read_struct(file, END64)
        if signature == b"PK\x06\x06":
            return _placed(file, place, count, length, offset)
    raise damaged("no zip64 directory")


def read_entries(file: BinaryIO, directory: ZipDirectory) -> Iterator[ZipEntry]:
    """Read the entries one by one; raises `UnpackError` if the directory has another size."""
    seek(file, directory.offset)
    for _ in range(directory.count):
        yield _read_entry(file, directory.shift)
    if file.tell() != directory.offset + directory.size:
        raise damaged("its directory has another size than it says")


def _read_entry(file: BinaryIO, shift: int) -> ZipEntry:
    signature, *fields = read_struct(file, ENTRY)
    made_by, _, flags, method, _, _, crc, packed_size, size, *fields = fields
    name_size, extra_size, comment_size, _, _, attributes, offset = fields
    if signature != ENTRY_SIGNATURE:
        raise damaged("no entry where one should be")
    raw_name = exactly(file, name_size)
    # Without the flag a name is in code page 437 by the specification, and in UTF-8 in practice.
    name = decode_name(raw_name) if flags & UTF8 else _legacy_name(raw_name)
    if made_by >> 8 in DOS_HOSTS:
        name = name.replace("\\", "/")
    extra = exactly(file, extra_size)
    if comment_size:
        file.seek(comment_size, os.SEEK_CUR)
    if FULL_32 in {size, packed_size, offset}:
        size, packed_size, offset = _widen(extra, [size, packed_size, offset])
    return ZipEntry(
        raw_name=raw_name,
        name=name,
        flags=flags,
        method=method,
        crc=crc,
        packed_size=packed_size,
        size=size,
        mode=attributes >> 16,
        offset=offset + shift,
    )


def _legacy_name(raw_name: bytes) -> str:
    try:
        return raw_name.decode("utf-8")
    except UnicodeDecodeError:
        return raw_name.decode("cp437")


def _widen(extra: bytes, values: list[int]) -> list[int]:
    """Replace values that do not fit into 32 bits, in the order of 4.5.3."""
    at = 0
    while at + 4 <= len(extra):
        key, size = struct.unpack_from("<2H", extra, at)
        if key == ZIP64:
            packed = extra[at + 4 : at + 4 + size]
            wide = (value for (value,) in struct.iter_unpack("<Q", packed[: len(packed) & ~7]))
            return [next(wide, value) if value == FULL_32 else value for value in values]
        at += 4 + size
    return values


def seek(file: BinaryIO, offset: int) -> None:
    """Go to an offset from an archive; raises `UnpackError` for an absurd one."""
    if offset >= 1 << 63:
        raise damaged("an offset outside")
    file.seek(offset)


def read_struct(file: BinaryIO, structure: struct.Struct) -> tuple[Any, ...]:
    """Read the fields of a record; raises `UnpackError` when the file ends too early."""
    return structure.unpack(exactly(file, structure.size))


def exactly(file: BinaryIO, size: int) -> bytes:
    """Read exactly `size` bytes; raises `UnpackError` when the file ends too early."""
    data = file.read(size)
    if len(data) < size:
        raise UnpackError("the zip archive is cut short")
    return data


def damaged(why: str) -> UnpackError:
    """The error for an archive that contradicts itself."""
    return UnpackError(f"the zip archive is damaged: {why}")
