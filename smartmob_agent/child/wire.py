"""How agent and guard speak: frames to the zygote, lines in the other direction.

A frame is a JSON object behind a header that tells its length and how many
descriptors belong to it; the descriptors ride on the frame's first byte, so they have
arrived when the frame is complete.  Both sides import this module, the guard without the
rest of the package: standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["Frames", "Lines", "pack"]

_LENGTH = 4
_HEADER = _LENGTH + 1


def pack(message: Mapping[str, Any], *, fds: int = 0) -> bytes:
    """The frame of a message that `fds` descriptors travel with."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return len(body).to_bytes(_LENGTH, "big") + bytes([fds]) + body


class Frames:
    """Puts frames together again, however the stream cut them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._fds: list[int] = []

    def feed(self, data: bytes, fds: Sequence[int]) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Each message that is complete now, with its descriptors."""
        self._data += data
        self._fds += fds
        while len(self._data) >= _HEADER:
            end = _HEADER + int.from_bytes(self._data[:_LENGTH], "big")
            if len(self._data) < end:
                return
            count = self._data[_LENGTH]
            message = json.loads(self._data[_HEADER:end])
            del self._data[:end]
            mine, self._fds = self._fds[:count], self._fds[count:]
            yield message, mine


class Lines:
    """Cuts a stream into lines of a word and what belongs to it."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[str, str]]:
        """Each (word, rest of its line) that is complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, rest = line.decode("ascii").partition(" ")
            yield word, rest
