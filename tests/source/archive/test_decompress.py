"""Decompression in bounded memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable

import pytest

from smartmob_agent.errors import DownloadError, UnpackError
from smartmob_agent.source.archive.decompress import codec_of, decompressed

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
every_format = pytest.mark.parametrize("name", COMPRESS)


def unpacked(data: bytes, streams: int = 10) -> list[bytes]:
    codec = codec_of(data)
    assert codec is not None
    file = io.BytesIO(data)
    return list(decompressed(file, codec, streams=streams, check=lambda: None))


@every_format
def test_a_bomb_comes_in_small_pieces(name: str) -> None:
    """However much a piece of input inflates to."""
    pieces = unpacked(COMPRESS[name](bytes(10_000_000)))
    assert max(map(len, pieces)) <= 64 * 1024
    assert b"".join(pieces) == bytes(10_000_000)


@every_format
def test_streams_in_a_row_are_one(name: str) -> None:
    """What follows the last one is ignored, as the tools do."""
    two = COMPRESS[name](b"one ") + COMPRESS[name](b"two")
    for tail in (b"", b"\0" * 512, b"garbage"):
        assert b"".join(unpacked(two + tail)) == b"one two"


def test_xz_may_be_padded_between_and_behind_streams() -> None:
    """Whatever the size of the padding, and over the pieces that are read."""
    one, two = lzma.compress(b"one "), lzma.compress(b"two")
    for size in (4, 64 * 1024 - len(one), 200_000):
        assert b"".join(unpacked(one + bytes(size) + two + bytes(size))) == b"one two"


@every_format
def test_too_many_streams_are_refused(name: str) -> None:
    """Each costs more than it holds."""
    with pytest.raises(DownloadError, match=f"expected at most 10 {name} streams, found more"):
        unpacked(COMPRESS[name](b"") * 11)


@every_format
def test_a_cut_is_noticed(name: str) -> None:
    """Also when it takes only the checksum at the end."""
    data = COMPRESS[name](b"x" * 1000)
    for size in (len(data) // 2, len(data) - 1):
        with pytest.raises(UnpackError, match=f"^the {name} data is cut short$"):
            unpacked(data[:size])


@every_format
def test_damage_is_noticed(name: str) -> None:
    """By the checksums of the format."""
    data = bytearray(COMPRESS[name](b"x" * 1000))
    for at in range(len(data) // 2 - 3, len(data) // 2 + 3):
        data[at] ^= 0xFF
    with pytest.raises(UnpackError, match=f"^the {name} data cannot be read: "):
        unpacked(bytes(data))


def test_xz_with_a_huge_dictionary_is_refused() -> None:
    """Its memory is asked for by 100 bytes of input."""
    data = bytearray(lzma.compress(b"x"))
    end = 12 + data[12] * 4  # of the block header, behind that of the stream
    data[data.index(b"\x21\x01", 12, end) + 2] = 40  # LZMA2: a dictionary of 4 GiB
    data[end : end + 4] = zlib.crc32(data[12:end]).to_bytes(4, "little")
    with pytest.raises(UnpackError, match="Memory usage limit"):
        unpacked(bytes(data))


def test_other_data_is_not_compressed() -> None:
    """Only what begins as a stream does."""
    assert codec_of(b"PK\3\4") is None


def test_a_check_ends_it() -> None:
    """What the check raises comes through."""

    def check() -> None:
        raise ZeroDivisionError

    codec = codec_of(b"BZh")
    assert codec is not None
    with pytest.raises(ZeroDivisionError):
        next(decompressed(io.BytesIO(), codec, streams=1, check=check))
