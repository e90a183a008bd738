"""The end of the lifeline that the shim holds; the other one is in the agent alone.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import _socket

from .bare import Socket, suppress

__all__ = ["Lifeline"]


class Lifeline:
    """What the agent says, and whether it is there at all; what is said to it."""

    def __init__(self, fd: int) -> None:
        """Takes the descriptor over."""
        self.fd = fd
        self._socket = Socket(fileno=fd)
        self.is_alone = False
        """Whether `hear()` has found the agent gone."""

    def hear(self) -> bytes | None:
        """What the agent has said since we last listened, empty if nothing; None if it is gone.

        Does not wait.
        """
        try:
            words = self._socket.recv(256, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        except OSError:
            words = b""
        if words:
            return words
        self.is_alone = True
        return None

    def say(self, line: str, *, wait: bool = True) -> None:
        """Tell the agent; no effect when it is gone.

        wait: until it has taken in enough of what was said before; else this line may be lost.
        """
        if not self.is_alone:
            flags = 0 if wait else _socket.MSG_DONTWAIT
            with suppress(OSError):
                self._socket.sendall(f"{line}\n".encode("ascii"), flags)
