"""Lines to WebSocket frames, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["text_frames"]

_TEXT = 0x81
"""FIN and the opcode for text: RFC 6455, section 5.2."""


class _Headers(dict[int, bytes]):
    """Length of a payload → header of its frame, unmasked as a server's; each made once."""

    def __missing__(self, size: int) -> bytes:
        if size < 126:
            return self.setdefault(size, bytes((_TEXT, size)))
        if size < 1 << 16:
            return self.setdefault(size, bytes((_TEXT, 126)) + size.to_bytes(2, "big"))
        # Few lines are so long, and there are many such lengths: not worth remembering.
        return bytes((_TEXT, 127)) + size.to_bytes(8, "big")


_headers = _Headers()


def text_frames(lines: Sequence[bytes]) -> bytes:
    """Return all lines, which must be valid UTF-8, each in a text frame of its own."""
    parts = [b""] * (2 * len(lines))
    parts[::2] = map(_headers.__getitem__, map(len, lines))
    parts[1::2] = lines
    return b"".join(parts)
