"""SIGCHLD as something to poll for.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import os

from .bare import signal, suppress

__all__ = ["Wakeup"]


_CHUNK = 4096
"""Bytes; one tells of each child, and a pipe with fewer is empty then."""


class Wakeup:
    """A descriptor that becomes readable when a child ends."""

    def __init__(self) -> None:
        self.fd, self._other = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._other, False)
        signal.set_wakeup_fd(self._other, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while len(os.read(self.fd, _CHUNK)) == _CHUNK:
                pass

    def close(self) -> None:
        """Take nothing of it over into a fork."""
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._other)
