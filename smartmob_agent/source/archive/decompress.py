"""Decompression in bounded memory: gzip, bzip2 and xz, recognized by their first bytes.

A decompressor returns at most as many bytes as it is asked for, however much the input inflates
to; a bomb costs time, which the caller bounds, but no memory.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

import attrs

from smartmob_agent.errors import CutShortError, DownloadError, UnpackError
from smartmob_agent.source.gunzip import DamagedError, Gunzip

__all__ = ["CODECS", "MAGIC_BYTES", "Decompressor", "codec_of", "decompressed"]

# A piece of input costs at most a piece of output, so small pieces bound both.
INPUT_BYTES = 64 * 1024

# `xz -9` asks for 65 MiB; the format allows 4 GiB.
XZ_MEMORY_BYTES = 80 * 1024 * 1024


class Decompressor(Protocol):
    """The interface that the standard library's bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


@attrs.frozen(kw_only=True)
class Codec:
    """A format of compression.

    magic: the first bytes of each stream.
    may_be_padded: whether zeros may stand between streams (xz, "Stream Padding").
    needs_memory: whether the data says how much memory it takes to read, within a limit.
    """

    name: str
    magic: bytes
    new: Callable[[], Decompressor]
    needs_memory: bool = False
    may_be_padded: bool = False


CODECS = (
    Codec(name="gzip", magic=b"\x1f\x8b", new=Gunzip),
    Codec(name="bzip2", magic=b"BZh", new=bz2.BZ2Decompressor),
    Codec(
        name="xz",
        magic=b"\xfd7zXZ\0",
        new=lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES),
        needs_memory=True,
        may_be_padded=True,
    ),
)

MAGIC_BYTES = max(len(codec.magic) for codec in CODECS)


def codec_of(head: bytes) -> Codec | None:
    """The codec of data that begins with `head`, None if it is not compressed."""
    return next((codec for codec in CODECS if head.startswith(codec.magic)), None)


def decompressed(
    file: BinaryIO, codec: Codec, *, streams: int, check: Callable[[], None]
) -> Iterator[bytes]:
    """Decompress `file`, in pieces of at most 64 KiB; several streams count as one.

    Bytes after the last stream are ignored, as the format's own tools do.

    streams: limit of their number.
    check: called before each piece; its exceptions propagate.

    Raises `UnpackError` when the data is damaged or cut short, `DownloadError` for too many
    streams.
    """
    data = file.read(INPUT_BYTES)
    for _ in range(streams):
        decompressor = codec.new()
        while not decompressor.eof:
            check()
            if decompressor.needs_input:
                data = data or file.read(INPUT_BYTES)
                if not data:
                    raise CutShortError(f"the {codec.name} data is cut short")
            if piece := _decompress(decompressor, data, codec):
                yield piece
            data = b""
        data = decompressor.unused_data
        while codec.may_be_padded and not data.lstrip(b"\0"):
            check()
            data = file.read(INPUT_BYTES)
            if not data:
                return
        if codec.may_be_padded:
            data = data.lstrip(b"\0")
        if len(data) < len(codec.magic):
            data += file.read(INPUT_BYTES)
        if not data.startswith(codec.magic):
            return
    raise DownloadError(f"expected at most {streams} {codec.name} streams, found more")


def _decompress(decompressor: Decompressor, data: bytes, codec: Codec) -> bytes:
    try:
        return decompressor.decompress(data, INPUT_BYTES)
    except (DamagedError, OSError, EOFError, ValueError, lzma.LZMAError) as exc:
        raise UnpackError(f"the {codec.name} data cannot be read: {exc}") from exc
