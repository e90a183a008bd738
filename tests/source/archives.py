"""Archives made by code, honest and evil."""

from __future__ import annotations

import io
import struct
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Callable

import attrs

END = bytes(1024)
"""Of a tar archive."""

FIFO, DEVICE, BLOCK_DEVICE = tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE


@attrs.frozen
class Entry:
    """One member; `type` as tar has it."""

    name: str
    content: bytes = b""
    type: bytes = tarfile.REGTYPE
    target: str = ""
    mode: int = 0o644


def directory(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, type=tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, type=tarfile.SYMTYPE, target=target, mode=0o777)


def hardlink(name: str, target: str) -> Entry:
    return Entry(name, type=tarfile.LNKTYPE, target=target)


def make_tar(*entries: Entry, format: int = tarfile.PAX_FORMAT, compression: str = "") -> bytes:  # noqa: A002
    """A tar archive as Python writes it; compression: "", "gz", "bz2" or "xz"."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}", format=format) as tar:  # type: ignore[call-overload]
        for entry in entries:
            tar.addfile(tar_info(entry), io.BytesIO(entry.content))
    return buffer.getvalue()


def tar_info(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.name)
    info.size, info.type, info.linkname = len(entry.content), entry.type, entry.target
    info.mode = entry.mode
    return info


def header(entry: Entry, edit: Callable[[bytearray], None] = lambda block: None) -> bytes:
    """One tar header and its content, edited before the checksum is made."""
    block = bytearray(tar_info(entry).tobuf(tarfile.USTAR_FORMAT)[-512:])
    edit(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + entry.content + bytes(-len(entry.content) % 512)


_WARNINGS = threading.Lock()


def make_zip(*entries: Entry, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive as Python writes it."""
    buffer = io.BytesIO()
    # Before Python 3.14 what is caught is caught for all threads, and some tests pack in several.
    with _WARNINGS, warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for entry in entries:
            slash = "/" if entry.type == tarfile.DIRTYPE else ""
            info = zipfile.ZipInfo(entry.name + slash)
            kinds = {tarfile.SYMTYPE: 0o120000, tarfile.DIRTYPE: 0o040000, FIFO: 0o010000}
            mode = kinds.get(entry.type, 0o100000) | entry.mode
            info.external_attr = mode << 16
            info.compress_type = method
            archive.writestr(info, entry.target.encode() or entry.content)
    return buffer.getvalue()


def set_size(block: bytearray, size: int) -> None:
    """Let a header say that so many bytes follow."""
    block[124:136] = b"%011o\0" % size


def pax(records: bytes, type: bytes = b"x") -> bytes:  # noqa: A002
    """A pax header of these records, for the next member or, with type `g`, for all that follow."""
    return header(Entry("x", records, type))


def record(key: str, value: bytes) -> bytes:
    """A record of a pax header; its length counts its own digits, too."""
    rest = b" " + key.encode() + b"=" + value + b"\n"
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size += 1
    return str(size).encode() + rest


def edit(data: bytes, at: int, form: str, value: int) -> bytes:
    """Change a number in a zip archive."""
    changed = bytearray(data)
    struct.pack_into("<" + form, changed, at, value)
    return bytes(changed)
