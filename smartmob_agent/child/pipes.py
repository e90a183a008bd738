"""The descriptors between the agent and one child."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket

import trio

__all__ = ["ChildPipes"]

_PIPE_BYTES = 256 * 1024
"""What a child may write before it waits for us: 1.5 times as fast as the default of 64 KiB."""


class ChildPipes:
    """The lifeline and the two pipes of one child: our ends, and theirs to pass on."""

    def __init__(self) -> None:
        """Raises `OSError` if there are no descriptors left."""
        with contextlib.ExitStack() as undo:
            self.lifeline, theirs = socket.socketpair()
            self.lifeline.setblocking(False)
            undo.callback(self.lifeline.close)
            self.theirs = [theirs.detach()]
            undo.callback(self._close_theirs)
            self.stdout = self._open_pipe()
            undo.callback(self.stdout.close)
            self.stderr = self._open_pipe()
            undo.pop_all()

    def _open_pipe(self) -> trio.lowlevel.FdStream:
        ours, theirs = os.pipe()
        # The user may have too many large pipes (pipe(7)), and only Linux can make them.
        with contextlib.suppress(OSError, AttributeError):
            fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.theirs.append(theirs)
        return trio.lowlevel.FdStream(ours)

    def kill_shim(self, pid: int) -> None:
        """Send SIGKILL to who holds the other end of the lifeline, if it lives.

        pid: its number when it told it; 0 is nobody.  It cannot have been used again while the
            other end is open: only the shim has it.  Where there is no pidfd nobody is killed,
            nor when our end is closed, which it is once the shim has ended.
        """
        if not pid or self.lifeline.fileno() < 0:
            return
        with contextlib.suppress(OSError, AttributeError):
            pidfd = os.pidfd_open(pid)
            try:
                look = select.poll()
                look.register(self.lifeline, 0)
                if not look.poll(0):  # POLLHUP
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)

    def _close_theirs(self) -> None:
        for fd in self.theirs:
            os.close(fd)

    def close(self) -> None:  # pragma: no cover  -- where the guard dies in between
        """Close our ends."""
        self.lifeline.close()
        self.close_pipes()

    def close_pipes(self) -> None:
        """Close our ends of the pipes only."""
        self.stdout.close()
        self.stderr.close()
