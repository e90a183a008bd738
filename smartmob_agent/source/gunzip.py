"""gzip in bounded memory, for archives and for bodies of responses.  Pure."""

from __future__ import annotations

import zlib

__all__ = ["DamagedError", "Gunzip"]


class DamagedError(Exception):
    """The compressed data breaks the rules of its format."""


class Gunzip:
    """A decompressor of one gzip stream (RFC 1952), with the interface of bz2 and lzma.

    A call returns at most as many bytes as it is asked for, however much the input inflates to.
    """

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """See `bz2.BZ2Decompressor.decompress`; raises `DamagedError`."""
        try:
            piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        except zlib.error as exc:
            raise DamagedError(str(exc)) from exc
        # After a full piece zlib may have more, without any input left over.
        self.needs_input = not self._zlib.unconsumed_tail and len(piece) < max_length
        return piece
