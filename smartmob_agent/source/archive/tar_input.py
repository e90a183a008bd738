"""The bytes of a tar archive, read once from front to back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from smartmob_agent.errors import CutShortError

__all__ = ["BLOCK_BYTES", "TarInput"]

BLOCK_BYTES = 512

CHUNK_BYTES = 256 * 1024


@attrs.define(eq=False)
class TarInput:
    """Reads blocks, of which the next one can be seen before it is taken.

    Raises `CutShortError` when there are fewer bytes than are asked for.
    """

    _read: Callable[[int], bytes]
    _peeked: bytes = b""

    def peek(self) -> bytes:
        """Return the next block, a part of one, or nothing at the end."""
        while len(self._peeked) < BLOCK_BYTES:
            piece = self._read(BLOCK_BYTES - len(self._peeked))
            if not piece:
                break
            self._peeked += piece
        return self._peeked

    def block(self) -> bytes:
        """Take the next block."""
        block = self.peek()
        if len(block) < BLOCK_BYTES:
            raise _cut_short()
        self._peeked = b""
        return block

    def pieces(self, size: int) -> Iterator[bytes]:
        """Take so many bytes, in pieces of at most 256 KiB."""
        left = size
        while left:
            wanted = min(left, CHUNK_BYTES)
            if self._peeked:
                piece, self._peeked = self._peeked[:wanted], self._peeked[wanted:]
            else:
                piece = self._read(wanted)
            if not piece:
                raise _cut_short()
            left -= len(piece)
            yield piece

    def content(self, size: int) -> Iterator[bytes]:
        """As `pieces`, and then the rest of the last block."""
        yield from self.pieces(size)
        self.skip_padding(size)

    def skip_padding(self, size: int) -> None:
        """Take what fills the last block of so many bytes."""
        for _ in self.pieces(-size % BLOCK_BYTES):
            pass

    def drain(self) -> None:
        """Read to the end."""
        self._peeked = b""
        while self._read(CHUNK_BYTES):
            pass


def _cut_short() -> CutShortError:
    return CutShortError("the tar archive is cut short")
