"""Writes log lines to a descriptor that may block, without ever making the caller wait."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable

__all__ = ["LogWriter"]


class LogWriter:
    """A thread that writes lines, in order, and a bounded queue in front of it.

    stderr may be a pipe, a terminal or a journal that nobody reads: then the thread waits, the
    queue fills, and later lines are counted instead of kept.  When the descriptor takes lines
    again, the count is written behind those that were kept.
    """

    def __init__(
        self, fd: int, *, describe_loss: Callable[[int], bytes], queue_bytes: int = 1024 * 1024
    ) -> None:
        """Write to `fd`, which stays open, until `close`.

        describe_loss: count of lost lines → the line that tells it.
        queue_bytes: lines that wait; as many again may be on their way to the descriptor.
        """
        self._fd = fd
        self._describe_loss = describe_loss
        self._queue_bytes = queue_bytes
        self._lines: list[bytes] = []
        self._bytes = self._lost = 0
        self._is_writing = self._is_closed = False
        # Held for moments only, never while something is written.
        self._changed = threading.Condition()
        # A daemon: it may hang in write(2) for ever, which must not keep the program alive.
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Queue a line, or count it as lost if the queue is full.  Returns at once."""
        with self._changed:
            is_full = self._lines and self._bytes + len(line) > self._queue_bytes
            if is_full or self._is_closed:
                self._lost += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until all lines are written; return whether they are.

        Blocks its thread: for the end of a program.
        """
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout)

    def close(self, timeout: float) -> None:
        """Write what is queued, for up to `timeout` seconds, and take no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _is_idle(self) -> bool:
        return not (self._lines or self._is_writing)

    def _run(self) -> None:
        while lines := self._take():
            written = self._write_all(b"".join(lines))
            with self._changed:
                self._is_writing = False
                self._lost += 0 if written else len(lines)
                self._changed.notify_all()

    def _take(self) -> list[bytes]:
        """Wait for lines; none when the writer is closed and has written all."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._is_closed)
            lines, self._lines = self._lines, []
            if self._lost and lines:
                lines.append(self._describe_loss(self._lost))
                self._lost = 0
            self._bytes = 0
            self._is_writing = bool(lines)
            return lines

    def _write_all(self, data: bytes) -> bool:
        """Write, for as long as that takes; False if the descriptor does not take it."""
        try:
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:  # another program has made it non-blocking
                    poll = select.poll()
                    poll.register(self._fd, select.POLLOUT)
                    poll.poll()
        except OSError:
            return False
        return True
