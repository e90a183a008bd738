"""Bytes to lines, of bounded length and valid UTF-8."""

from __future__ import annotations

import codecs

__all__ = ["LineSplitter"]


class LineSplitter:
    r"""Makes whole lines of a stream of bytes, however it is cut into chunks.

    A line ends with `\n` or `\r\n` and comes without it.  Each one is valid UTF-8: what is
    not becomes U+FFFD.  A line of more than `max_bytes` comes in pieces of at most so many
    bytes, none of which splits a character.  Keeps no more than about three times
    `max_bytes` and one chunk.
    """

    def __init__(self, max_bytes: int) -> None:
        # A piece must have room for any character, else none could be cut.
        self._max_bytes = max(max_bytes, 4)
        self._begun = bytearray()
        self._long: _LongLine | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the lines, or pieces of a long one, that they end."""
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            return self._begin(chunk)
        if self._long is not None:
            lines = self._long.feed(head) + self._long.finish(ended=True)
            self._long = None
        else:
            lines = []
            rest = bytes(self._begun) + chunk
            self._begun.clear()
        *ended, unended = rest.split(b"\n")
        lines += self._whole(ended, rest)
        return lines + self._begin(unended)

    def finish(self) -> list[bytes]:
        """The stream has ended: return what there is of a line without an end."""
        if self._long is not None:
            lines = self._long.finish(ended=False)
        else:
            lines = _pieces(_valid(bytes(self._begun)), self._max_bytes) if self._begun else []
        self._long = None
        self._begun.clear()
        return lines

    def _begin(self, chunk: bytes) -> list[bytes]:
        """Keep the beginning of a line; return the pieces that it is too long for."""
        if self._long is not None:
            return self._long.feed(chunk)
        self._begun += chunk
        if len(self._begun) <= self._max_bytes:
            return []
        self._long = _LongLine(self._max_bytes)
        begun, self._begun = bytes(self._begun), bytearray()
        return self._long.feed(begun)

    def _whole(self, lines: list[bytes], chunk: bytes) -> list[bytes]:
        """Clean lines which were all in `chunk`: asking it first saves asking each line."""
        if b"\r" in chunk:
            lines = [line.removesuffix(b"\r") for line in lines]
        if not chunk.isascii():
            lines = [_valid(line) for line in lines]
        if any(len(line) > self._max_bytes for line in lines):
            lines = [piece for line in lines for piece in _pieces(line, self._max_bytes)]
        return lines


class _LongLine:
    """A line that is too long to wait for its end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        # A \r at the end waits for what follows: it may belong to the line's end.
        self._text += self._decoder.decode(chunk).encode()
        *pieces, self._text = _pieces(self._text, self._max_bytes, spare=b"\r")
        return pieces

    def finish(self, *, ended: bool) -> list[bytes]:
        text = self._text + self._decoder.decode(b"", final=True).encode()
        return _pieces(text.removesuffix(b"\r") if ended else text, self._max_bytes)


def _valid(line: bytes) -> bytes:
    return line if line.isascii() else line.decode("utf-8", "replace").encode()


def _pieces(line: bytes, max_bytes: int, *, spare: bytes = b"") -> list[bytes]:
    """Cut valid UTF-8 into pieces of at most `max_bytes`, not counting a last `spare`."""
    pieces = []
    start, end = 0, len(line.removesuffix(spare))
    while end - start > max_bytes:
        cut = start + max_bytes
        while line[cut] & 0xC0 == 0x80:  # a continuation byte: RFC 3629, section 3
            cut -= 1
        pieces.append(line[start:cut])
        start = cut
    return [*pieces, line[start:]]
