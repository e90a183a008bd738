"""The shim: one small process above each app, which sees that nothing of it stays.

It is the subreaper of the app's tree, and holds one end of a lifeline whose other end is in
the agent alone: end of file there means that the agent is gone.  It is done when
`waitpid` says ECHILD, the kernel's word that nothing is left.

On the lifeline it says `started PID`, `failed ERRNO STEP`, `exited STATUS` (as wait(2)
has it), `left PID…` (each second that they resist SIGKILL) and `empty`; it is told
`t` (SIGTERM to the app's process group), `k` (SIGKILL to all of it), and the numbers of
other signals to the group, each as one byte.

Standard library only: the guard imports this module without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH106

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from typing import Any

from .app import App
from .group import Group
from .isolation import enter_pid_namespace
from .kernel import become_subreaper, take_precedence
from .purge import Purge, kill_cgroup
from .wakeup import Wakeup
from .wire import receive_message, rehearse, send

__all__ = ["Shim"]


_LAST_SIGNAL = 64
"""SIGRTMAX; the letters that are words come after it."""
_FIRST_LOOK, _LAST_LOOK = 0.025, 1.0
"""Seconds between two looks at a group that was told to end."""


class Shim:
    """The life of a shim; `run()` returns when nothing of the app is left."""

    def __init__(self, requests: socket.socket, *, isolated: bool) -> None:
        """The life of a shim begins with a request, the only one on its socket.

        It tells argv, env, cwd, limits, isolation and cgroup; its descriptors are the
        lifeline, stdout, stderr and, with a cgroup, its cgroup.procs.
        """
        self._requests = requests
        self._isolated = isolated
        self._request: dict[str, Any] = {}
        self._lifeline: socket.socket
        self._child = 0
        self._report = -1
        self._main = 0
        """The app: our child, or that of the first process of its namespace."""
        self._status: int | None = None
        self._kill = self._terminated = self._is_over = self._is_alone = False

    def run(self) -> None:
        """Wait for the request, start the app, serve the agent, end the tree."""
        os.setsid()
        become_subreaper()
        self._wakeup = Wakeup()
        self._poll = select.poll()
        self._poll.register(self._wakeup.fd, select.POLLIN)
        self._group = Group(self._poll)
        failure = self._prepare()
        if not self._await_request():
            self._dismiss()
            return
        self._poll.register(self._lifeline, select.POLLIN)
        self._hear()
        if self._kill:  # nobody is left to ask for it
            self._dismiss()
            return
        try:
            self._start()
        except OSError as exc:
            self._say(f"failed {failure or exc.errno} {'isolate' if self._isolated else 'fork'}")
            return
        self._live()
        self._end()

    def _prepare(self) -> int | None:
        """Fork the app before it is known, if it can be; returns why that failed, as errno.

        The app does what is the same for all, then waits for a request as we do.
        """
        self._app = App(os.getpid())
        self._trouble, self._app.trouble = os.pipe()
        if self._isolated:
            return None
        self._stage, theirs = socket.socketpair()
        with theirs:
            try:
                self._child = self._main = os.fork()
            except OSError as exc:
                return exc.errno
            if not self._child:
                self._requests.close()
                self._stage.close()
                os.close(self._trouble)
                self._app.await_request(theirs)
        return None

    def _await_request(self) -> bool:
        """False if the zygote has ended instead."""
        rehearse()
        with self._requests:
            request = receive_message(self._requests)
        if request is None:
            return False
        self._request, (lifeline, *self._app.fds) = request
        self._lifeline = socket.socket(fileno=lifeline)
        return True

    def _dismiss(self) -> None:
        """End an app that nobody asks for; not even a zombie is left to others."""
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)

    def _start(self) -> None:
        """Start the app, in a PID namespace of its own if that was asked for."""
        app = self._app
        if self._isolated:
            app.request = self._request
            self._report, app.report = os.pipe()
            os.set_blocking(self._report, False)
            enter_pid_namespace()
            self._child = os.fork()
            if not self._child:
                app.become(but=(self._trouble, self._report, self._lifeline.fileno()))
            self._poll.register(self._report, select.POLLIN)
        else:
            with self._stage as stage:
                send(stage, self._request, app.fds)
        app.close()  # held by us the output would never end
        self._poll.register(self._trouble, select.POLLIN)

    def _live(self) -> None:
        """Return when the tree has to be killed."""
        patience: float | None = None
        while not self._kill:
            self._wait(patience)
            self._reap()
            if self._status is None:
                continue
            if not (self._terminated and self._group.watch(self._main)):
                return
            patience = min(2 * (patience or _FIRST_LOOK), _LAST_LOOK)

    def _end(self) -> None:
        take_precedence()
        cgroup = self._request["cgroup"]
        if cgroup:
            kill_cgroup(cgroup)
        if self._main and self._status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._main, signal.SIGKILL)
        purge = Purge()
        progress = True
        while self._reap():
            purge.round(progress=progress)
            progress = self._wait(purge.delay)
            if report := purge.report():
                self._say(f"left {report}", wait=False)
        if cgroup:
            with contextlib.suppress(OSError):
                os.rmdir(cgroup)
        self._say("empty")

    def _wait(self, timeout: float | None) -> bool:
        """Wait for a word of the agent or the end of a child; True if there was the latter.

        timeout: seconds
        """
        events = dict(self._poll.poll(None if timeout is None else timeout * 1000))
        if self._lifeline.fileno() in events:
            self._hear()
        if self._report in events:
            self._hear_init()
        if self._trouble in events:
            self._tell_start()
        if self._wakeup.fd in events:
            self._wakeup.drain()
            return True
        return False

    def _hear(self) -> None:
        """Do what the agent has told us, if anything."""
        if self._is_alone:
            return
        try:
            words = self._lifeline.recv(256, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            words = b""
        if not words:
            self._is_alone = True
            self._poll.unregister(self._lifeline)
        if self._is_alone or b"k" in words:
            self._kill = True
        if self._main and self._status is None:
            if b"t" in words:
                self._terminated = True
            for word in words:
                self._signal_group(signal.SIGTERM if word == ord("t") else word)

    def _signal_group(self, number: int) -> None:
        if number <= _LAST_SIGNAL and not self._is_over:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._main, number)

    def _tell_start(self) -> None:
        """Pass on what became of the exec, once it is known."""
        if self._trouble < 0:
            return
        if not self._main:
            self._hear_init()
        trouble = os.read(self._trouble, 256).decode()
        self._poll.unregister(self._trouble)
        os.close(self._trouble)
        self._trouble = -1
        self._say(f"failed {trouble}" if trouble else f"started {self._main}")

    def _reap(self) -> bool:
        """Collect who has ended; False if we have no child left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self._child:
                self._hear_init()
                # The first process of a namespace has told how the app ended, or was killed.
                self._note_exit(status if self._main == self._child else signal.SIGKILL)

    def _note_exit(self, status: int) -> None:
        if self._status is None:
            self._tell_start()
            self._is_over = True
            self._hear()  # what was told before the end counts as told before it
            self._status = status
            self._say(f"exited {status}")

    def _hear_init(self) -> None:
        """Hear the first process of the namespace: `main PID`, `exited STATUS`."""
        if self._report < 0:
            return
        try:
            words = os.read(self._report, 4096).split()
        except BlockingIOError:
            return
        for word, number in zip(words[::2], words[1::2], strict=True):
            if word == b"main":
                self._main = int(number)
            else:
                self._note_exit(int(number))
        if not words:
            self._poll.unregister(self._report)
            os.close(self._report)
            self._report = -1

    def _say(self, line: str, *, wait: bool = True) -> None:
        flags = 0 if wait else socket.MSG_DONTWAIT
        with contextlib.suppress(OSError):
            self._lifeline.sendall(f"{line}\n".encode("ascii"), flags)
