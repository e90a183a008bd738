"""How agent and guard speak: frames to the zygote, lines in the other direction.

A frame is a dictionary, as the interpreter that runs both sides writes it (`marshal`), behind a
header that tells its length and how many descriptors belong to it; the descriptors ride on the
frame's first byte, so they have arrived when the frame is complete.  Both sides import this
module, the guard without the rest of the package: standard library only.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys

from .bare import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

__all__ = [
    "FrameDecoder",
    "Lines",
    "ancillary",
    "pack",
    "receive",
    "receive_message",
    "rehearse",
    "send",
]

_LENGTH = 4
_HEADER = _LENGTH + 1
_MOST_FDS = 16
_INT = 4
_CLOEXEC = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)


def pack(message: Mapping[str, Any], *, fds: int = 0) -> bytes:
    """The frame of a message that `fds` descriptors travel with."""
    body = marshal.dumps(dict(message))
    return len(body).to_bytes(_LENGTH, "big") + bytes([fds]) + body


def send(target: _socket.socket, message: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Send a frame and its descriptors, waiting as long as the socket is set to."""
    frame = pack(message, fds=len(fds))
    sent = target.sendmsg([frame], ancillary(fds))
    if sent < len(frame):  # else whoever has all of it may be gone already
        target.sendall(frame[sent:])


def ancillary(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """What to give to `sendmsg()` for descriptors to go along."""
    rights = b"".join(fd.to_bytes(_INT, sys.byteorder) for fd in fds)
    return [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []


def receive(source: _socket.socket) -> tuple[bytes, list[int]]:
    """What has arrived, with its descriptors; no bytes when the other end is closed.

    Raises `OSError` when the kernel cannot tell, which says nothing of the other end.
    """
    space = _socket.CMSG_SPACE(_MOST_FDS * _INT)
    try:  # not recv_fds(), which forgets its flags: Python 3.11 to 3.13
        data, messages, _, _ = source.recvmsg(65536, space, _CLOEXEC)
    except ConnectionError:
        return b"", []
    rights = b"".join(payload for _, _, payload in messages)
    fds = (rights[start : start + _INT] for start in range(0, len(rights), _INT))
    numbers = [int.from_bytes(fd, sys.byteorder) for fd in fds]
    if not _CLOEXEC:  # not on Linux
        for number in numbers:
            os.set_inheritable(number, False)
    return data, numbers


class FrameDecoder:
    """Puts frames together again, however the stream cut them."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._fds: list[int] = []

    def feed(self, data: bytes, fds: Sequence[int]) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Each message that is complete now, with its descriptors: all of them or none."""
        self._data += data
        self._fds += fds
        while len(self._data) >= _HEADER:
            end = _HEADER + int.from_bytes(self._data[:_LENGTH], "big")
            if len(self._data) < end:
                return
            count = self._data[_LENGTH]
            message = marshal.loads(self._data[_HEADER:end])  # noqa: S302  from the agent alone
            del self._data[:end]
            mine, self._fds = self._fds[:count], self._fds[count:]
            if len(mine) < count:  # none was left here to take them (MSG_CTRUNC, recvmsg(2))
                while mine:
                    os.close(mine.pop())
            yield message, mine


def receive_message(source: _socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for one frame; None when the other end closes first."""
    frames = FrameDecoder()
    while True:
        data, fds = receive(source)
        if not data:
            return None
        for message in frames.feed(data, fds):
            return message


def rehearse() -> None:
    """Touch the memory that a request will need: after a fork the first touch is slow."""
    list(FrameDecoder().feed(pack({"argv": ["", ""], "env": {"": ""}}), []))


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
