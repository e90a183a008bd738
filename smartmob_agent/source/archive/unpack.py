"""Archives → files.  Synchronous: for a thread."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError
from smartmob_agent.source.archive.budget import Budget
from smartmob_agent.source.archive.decompress import Codec, codec_of, decompressed
from smartmob_agent.source.archive.extract import open_extraction
from smartmob_agent.source.archive.members import Content, Member
from smartmob_agent.source.archive.tar import BLOCK_BYTES, is_tar, tar_members
from smartmob_agent.source.archive.zip import MAGICS, zip_members
from smartmob_agent.source.archive.zip_directory import ends_as_zip

__all__ = ["check_archive", "unpack"]

Members = Iterable[tuple[Member, Content]]

# A thread that makes many short system calls releases the interpreter at each of them, but takes it
# back before another thread that waits for it is awake; so it has to sleep now and then.
PAUSE_INTERVAL = 0.005
PAUSE = 0.0001
"""Seconds; costs a hundredth of the time."""

# Headers and padding of a tar archive do not count as content, but cost as much time.
OVERHEAD_BYTES = 4096
"""For each member."""

FOUND = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"\x02\x21\x4c\x18", "lz4 data"),
    (b"LZIP", "lzip data"),
    (b"\x89LZO\0", "lzop data"),
    (b"\x5d\0\0", "lzma data"),
    (b"\x1f\x9d", "data of compress (.Z)"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\0", "xz data"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x07\x08", "a part of a zip archive"),
    (b"070701", "a cpio archive"),
    (b"070702", "a cpio archive"),
    (b"070707", "a cpio archive"),
    (b"\xc7\x71", "a cpio archive"),
    (b"\x71\xc7", "a cpio archive"),
    (b"!<arch>\n", "an ar archive, as Debian packages are"),
    (b"xar!", "a xar archive"),
    (b"MSCF", "a cabinet archive"),
    (b"\xed\xab\xee\xdb", "an rpm package"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"%pdf", "a PDF document"),
    (b"# v2 git bundle", "a git bundle"),
    (b"# v3 git bundle", "a git bundle"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)
"""What servers send instead of an archive, by its first bytes; text in lower case."""


def unpack(archive: Path, directory: Path, limits: SourceLimits, check: Callable[[], None]) -> None:
    """Unpack a zip or tar archive, recognized by its content, into an empty directory.

    Files, directories and links inside are made, with permission bits other than setuid, setgid,
    sticky and the write bits of group and others, but without owners and times.

    check: called every few milliseconds; its exceptions propagate.

    Raises `DownloadError` when the file is no archive or over a limit, `UnpackError` when the
    archive is damaged or must not be unpacked, `OSError` when the disk cannot be written or has
    fewer than `min_free_bytes` left.
    """
    check = _in_time(check, limits.unpack_timeout)
    with (
        _open_archive(archive, limits, check) as (members, budget),
        open_extraction(directory, limits, budget, check) as tree,
    ):
        for member, content in members:
            tree.add(member, content)
        tree.finish()


def check_archive(archive: Path, limits: SourceLimits, check: Callable[[], None]) -> None:
    """Check that a file is a zip or tar archive; quick, however large the file is.

    check: as for `unpack`.

    Raises the `DownloadError` or `UnpackError` of `unpack` when it is none, and `OSError`.
    """
    with _open_archive(archive, limits, check):
        pass


def _in_time(check: Callable[[], None], timeout: float) -> Callable[[], None]:
    """Add a time limit, and pauses for other threads."""
    now = time.monotonic()
    end, pause = now + timeout, now + PAUSE_INTERVAL

    def check_in_time() -> None:
        nonlocal pause
        check()
        now = time.monotonic()
        if now > end:
            raise DownloadError(f"expected an archive that is unpacked within {timeout:g} s")
        if now > pause:
            time.sleep(PAUSE)
            pause = time.monotonic() + PAUSE_INTERVAL

    return check_in_time


@contextlib.contextmanager
def _open_archive(
    archive: Path, limits: SourceLimits, check: Callable[[], None]
) -> Iterator[tuple[Members, Budget]]:
    with archive.open("rb") as file, archive.open("rb") as second:
        budget = Budget(limits=limits, archive_bytes=os.fstat(file.fileno()).st_size)
        head = file.read(BLOCK_BYTES)
        file.seek(0)
        if head.startswith(MAGICS):
            yield zip_members(file, second, limit=limits.members), budget
        elif codec := codec_of(head):
            yield _compressed_tar(file, codec, budget, check), budget
        elif is_tar(head):
            yield tar_members(_checked(file, check)), budget
        elif ends_as_zip(file):
            yield zip_members(file, second, limit=limits.members), budget
        else:
            raise DownloadError(f"expected a zip or tar archive, found {_describe(head)}")


def _checked(file: BinaryIO, check: Callable[[], None]) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        check()
        return file.read(size)

    return read


def _compressed_tar(
    file: BinaryIO, codec: Codec, budget: Budget, check: Callable[[], None]
) -> Members:
    streams = budget.limits.members
    limit = budget.bytes + OVERHEAD_BYTES * streams
    pieces = _Pieces(decompressed(file, codec, streams=streams, check=check), limit)
    head = pieces.peek(BLOCK_BYTES)
    if not is_tar(head):
        found = _describe(head)
        if codec_of(head) is codec:
            found += ": it is compressed twice"
        raise DownloadError(f"expected a tar archive inside {codec.name}, found {found}")
    return tar_members(pieces.read)


class _Pieces:
    """Reads pieces of bytes in other sizes."""

    def __init__(self, pieces: Iterator[bytes], limit: int) -> None:
        self._pieces = pieces
        self._left = limit
        self._data = memoryview(b"")

    def peek(self, size: int) -> bytes:
        """Return the first bytes; fewer only if there are no more."""
        data = b""
        while len(data) < size and (piece := next(self._pieces, b"")):
            data += piece
        self._data = memoryview(data)
        return data[:size]

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes, none only at the end; `DownloadError` over the limit."""
        if not self._data:
            self._data = memoryview(next(self._pieces, b""))
        piece = bytes(self._data[:size])
        self._data = self._data[size:]
        self._left -= len(piece)
        if self._left < 0:
            raise DownloadError("expected a smaller archive, found headers and padding")
        return piece


def _describe(head: bytes) -> str:
    if not head:
        return "nothing"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, name in FOUND:
        if head.startswith(magic) or start.startswith(magic):
            return name
    return f"something that begins with {head[:16]!r}"
