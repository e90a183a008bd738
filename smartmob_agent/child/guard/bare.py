"""What the guard takes from the standard library, without what it would bring along.

`signal` and `socket` make an enum of each of their constants, `contextlib` and
`collections.abc` need half a dozen modules.  A shim is a copy of the zygote: of all this memory
it makes a part its own, and it takes longer to begin and to end.

The guard imports this module without the rest of the package.
"""

from __future__ import annotations

import _socket

__all__ = ["TYPE_CHECKING", "Socket", "open_pair", "signal", "suppress"]

TYPE_CHECKING = False
"""That of `typing`, which is the largest of them; for type checkers it is true by its name."""

if TYPE_CHECKING:
    import signal
    from typing import Self
else:
    import _signal as signal


class Socket(_socket.socket):
    """The part of `socket.socket` that is written in C, closed at the end of a block."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_pair() -> tuple[Socket, Socket]:
    """Two sockets that are connected with each other.

    Raises `OSError` if there are no descriptors left.
    """
    ours, theirs = _socket.socketpair()
    return Socket(fileno=ours.detach()), Socket(fileno=theirs.detach())


class suppress:  # noqa: N801  as in contextlib
    """Let the block end at one of these errors, and go on behind it."""

    def __init__(self, *errors: type[Exception]) -> None:
        self._errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, self._errors)
