"""Bytes to lines, of bounded length and valid UTF-8."""

from __future__ import annotations

import codecs

__all__ = ["LineSplitter"]


class LineSplitter:
    r"""Makes whole lines of a stream of bytes, however it is cut into chunks.

    A line ends with `\n` or `\r\n`.  What comes out is text in which each line ends with
    `\n`, so that it has as many lines as it has of those, and which is valid UTF-8: what
    was not is U+FFFD.  A line of more than `max_bytes` comes in pieces of at most so many
    bytes, none of which splits a character.

    Keeps no more than about three times `max_bytes`, and one chunk.
    """

    def __init__(self, max_bytes: int) -> None:
        # A piece must have room for any character, else none could be cut.
        self._max_bytes = max(max_bytes, 4)
        self._begun = bytearray()
        self._long: _LongLine | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return the lines, or pieces of a long one, that they end."""
        end = chunk.rfind(b"\n") + 1
        if not end:
            return self._begin(chunk)
        if self._long is not None:
            head, _, rest = chunk.partition(b"\n")
            lines = self._long.feed(head) + self._long.finish(ended=True)
            self._long = None
            return lines + self.feed(rest)
        whole = chunk
        if self._begun or end < len(chunk):
            whole = b"".join((self._begun, memoryview(chunk)[:end]))
            self._begun.clear()
        lines = self._clean(whole)
        return lines + self._begin(chunk[end:]) if end < len(chunk) else lines

    def finish(self) -> bytes:
        """The stream has ended: return what there is of a line without an end."""
        if self._long is not None:
            lines = self._long.finish(ended=False)
        else:
            lines = _pieces(_valid(bytes(self._begun)), self._max_bytes) if self._begun else b""
        self._long = None
        self._begun.clear()
        return lines

    def _begin(self, chunk: bytes) -> bytes:
        """Keep the beginning of a line; return the pieces that it is too long for."""
        if self._long is not None:
            return self._long.feed(chunk)
        self._begun += chunk
        if len(self._begun) <= self._max_bytes:
            return b""
        self._long = _LongLine(self._max_bytes)
        begun, self._begun = bytes(self._begun), bytearray()
        return self._long.feed(begun)

    def _clean(self, text: bytes) -> bytes:
        """Clean whole lines.  Asking all of them at once is much cheaper than asking each."""
        limit = self._max_bytes
        if text.isascii() and b"\r" not in text and not _has_longer(text, limit):
            return text
        lines = _valid(text.replace(b"\r\n", b"\n")[:-1]).split(b"\n")
        return b"".join(_pieces(line, limit) for line in lines)


class _LongLine:
    """A line that is too long to wait for its end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = b""

    def feed(self, chunk: bytes) -> bytes:
        # A \r at the end waits for what follows: it may belong to the line's end.
        self._text += self._decoder.decode(chunk).encode()
        pieces = _pieces(self._text, self._max_bytes, spare=b"\r")
        end = pieces.rfind(b"\n", 0, -1) + 1
        self._text = pieces[end:-1]
        return pieces[:end]

    def finish(self, *, ended: bool) -> bytes:
        text = self._text + self._decoder.decode(b"", final=True).encode()
        return _pieces(text.removesuffix(b"\r") if ended else text, self._max_bytes)


def _has_longer(text: bytes, limit: int) -> bool:
    """Whether a line of `text` has more than `limit` bytes: one look for each `limit` bytes."""
    start = 0
    while len(text) - start > limit:
        end = text.rfind(b"\n", start, start + limit + 1)
        if end < 0:
            return True
        start = end + 1
    return False


def _valid(text: bytes) -> bytes:
    return text if text.isascii() else text.decode("utf-8", "replace").encode()


def _pieces(line: bytes, max_bytes: int, *, spare: bytes = b"") -> bytes:
    r"""Cut valid UTF-8 into pieces of at most `max_bytes`, each with a `\n` at its end.

    spare: may come after `max_bytes` in the last piece.
    """
    pieces = []
    start, end = 0, len(line.removesuffix(spare))
    while end - start > max_bytes:
        cut = start + max_bytes
        while line[cut] & 0xC0 == 0x80:  # a continuation byte: RFC 3629, section 3
            cut -= 1
        pieces.append(line[start:cut])
        start = cut
    return b"\n".join([*pieces, line[start:], b""])
