"""The agent's hand on the zygote: starts it, sends it requests, hears what it says."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import trio

from smartmob_agent.child.guard.wire import Lines, ancillary, pack
from smartmob_agent.child.request import SpawnRequest
from smartmob_agent.errors import StartError

__all__ = ["ZygoteClient", "receive_lines"]

logger = logging.getLogger(__name__)

_GUARD = Path(__file__).with_name("guard") / "zygote.py"

_END_TIMEOUT = 2.0
"""Seconds for its end when something has failed; shims that do not end have half a second."""


async def receive_lines(source: socket.socket, receive: Callable[[str, str], None]) -> None:
    """Call `receive(word, rest)` for each line that comes, until the other end is closed.

    source: does not block
    """
    lines = Lines()
    while True:
        await trio.lowlevel.wait_readable(source)
        try:
            data = source.recv(65536)
        except ConnectionError:  # killed with something unread
            return
        if not data:
            return
        for word, rest in lines.feed(data):
            receive(word, rest)


class ZygoteClient:
    """One zygote, from its start to its end: `run()`."""

    def __init__(self, *, isolation: str | None = None) -> None:
        self._isolation = isolation
        self.has_begun = False
        """Whether `run()` was called."""
        self.is_abandoned = False
        """Whether `abandon()` was called."""
        self.settled = trio.Event()
        """Set when it is known whether it could be started."""
        self.error: StartError | None = None
        """Why it could not."""
        self.level = ""
        """What it can promise, see `containment` of the spawner."""
        self.ended = trio.Event()
        """Set when the zygote is gone and can be asked nothing any more."""
        self.pid = 0
        """Of the process, while it has not been waited for."""
        self.left: tuple[int, ...] = ()
        """What resists SIGKILL, of all that killed shims have left behind."""
        self._send, self._receive = trio.open_memory_channel[SpawnRequest](0)
        self._gone: dict[int, trio.Event] = {}
        self._ids = 0
        self._is_closed = False
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    async def run(self) -> None:
        """Start the zygote, and serve it until it ends.

        If cancelled: it ends when it finds itself alone.  That is waited for, but not after
        `close()`, when it was waited for already.
        """
        self.has_begun = True
        try:
            self._control, self._process = _start(self._isolation)
            self.pid = self._process.pid
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, self._control)
                nursery.start_soon(receive_lines, self._control, self._on_message)
                await _wait_ended(self._process)
                self.pid = 0
                nursery.cancel_scope.cancel()
            self._note_end(self._process.returncode)
        except OSError as exc:
            self.error = StartError(f"cannot start the guard: {exc.strerror}")
        finally:
            if self._control is not None:
                self._control.close()
            self._receive.close()
            self.settled.set()
            self.ended.set()
            for event in self._gone.values():  # nobody else could tell
                event.set()
            if self._process and self._process.returncode is None and not self._is_closed:
                self.resume()
                with trio.move_on_after(_END_TIMEOUT, shield=True):
                    await _wait_ended(self._process)

    def close(self) -> None:
        """Let the zygote end: it finds the agent gone, if it was stopped before, too."""
        self._is_closed = True
        self.resume()
        if self._control is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._control.shutdown(socket.SHUT_WR)

    async def spawn(self, request: SpawnRequest) -> tuple[int, trio.Event]:
        """Ask for a shim; returns its id, and what is set when it left nothing behind.

        Takes the request over.  Raises `trio.BrokenResourceError` if the zygote has ended.

        If cancelled: the request was not sent.
        """
        self._ids += 1
        shim, gone = self._ids, trio.Event()
        request.message = {"spawn": shim, **request.message}
        self._gone[shim] = gone
        try:
            await self._send.send(request)
        except BaseException:  # pragma: no cover  -- the guard was killed just now
            del self._gone[shim]
            request.close()
            raise
        return shim, gone

    def abandon(self) -> None:
        """Send it SIGKILL, for it does not do its work; its shims go on."""
        self.is_abandoned = True
        if self._process is not None:
            self._process.kill()

    def resume(self) -> None:
        """Let it go on if it was stopped (SIGSTOP); no effect if it was not, or has ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def kill(self, shim: int) -> None:
        """Send SIGKILL to a shim, by its id; no effect if either has ended."""
        try:
            await self._send.send(SpawnRequest({"kill": shim}))
        except trio.BrokenResourceError:  # pragma: no cover  -- the guard was killed just now
            return

    def _note_end(self, status: int) -> None:
        if not self.level:
            self.error = StartError(f"the guard ended as it started, with status {status}")
        elif not self._is_closed:
            logger.error("guard ended", extra={"status": status})

    def _on_message(self, word: str, rest: str) -> None:
        match word:
            case "ready":
                self.level = rest
                self.settled.set()
            case "gone":
                self._gone.pop(int(rest)).set()
            case _:  # pragma: no cover  -- orphans of a killed shim that cannot be killed
                self.left = tuple(map(int, rest.split()))

    async def _write(self, control: socket.socket) -> None:
        async for request in self._receive:
            try:
                await _send(control, request)
            except ConnectionError:  # pragma: no cover  -- the guard was killed just now
                self.abandon()
                return
            except OSError as exc:
                self._refuse(request, exc)
            finally:
                request.close()

    def _refuse(self, request: SpawnRequest, error: OSError) -> None:
        """Say what the guard would say, which does not get the request.

        Others use up what it takes: descriptors that are on their way (ETOOMANYREFS, unix(7))
        count for the user, so an app can do it; and memory.
        """
        if not request.fds:  # pragma: no cover  -- no memory to have a shim killed: it is stuck
            return
        os.write(request.fds[0], f"failed {error.errno} request\n".encode("ascii"))
        self._gone.pop(request.message["spawn"]).set()


async def _send(control: socket.socket, request: SpawnRequest) -> None:
    """Send a request.

    Raises `ConnectionError` when nothing more can be sent, another `OSError` when nothing of
    this request was.
    """
    frame = memoryview(pack(request.message, fds=len(request.fds)))
    rights, whole = ancillary(request.fds), len(frame)
    while frame:
        try:
            sent = control.sendmsg([frame], rights)
        except BlockingIOError:  # pragma: no cover  -- many large requests at once
            await trio.lowlevel.wait_writable(control)
            continue
        except OSError as exc:
            if len(frame) < whole:  # pragma: no cover  -- no memory just between two parts
                raise BrokenPipeError from exc  # what came next would be taken for the rest
            raise
        frame, rights = frame[sent:], []


def _start(isolation: str | None) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Popen in this thread takes 0.2 ms, however large the agent."""
    arguments = [isolation] if isolation else []
    ours, theirs = socket.socketpair()
    with theirs:
        fd = theirs.fileno()
        try:
            process = subprocess.Popen(
                [sys.executable, "-ISE", os.fspath(_GUARD), str(fd), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(fd,),
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    ours.setblocking(False)
    return ours, process


async def _wait_ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process without SIGCHLD and, on Linux, mostly without a thread."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except (OSError, AttributeError):  # no descriptor is left; not on Linux
        await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    process.wait()
