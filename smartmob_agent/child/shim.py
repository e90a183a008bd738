"""The shim: one small process above each app, which sees that nothing of it stays.

It is the subreaper of the app's tree, and holds one end of a lifeline whose other end is in
the agent alone: end of file there means that the agent is gone.  It is done when
`waitpid` says ECHILD, the kernel's word that nothing is left.

On the lifeline it says `started PID`, `failed ERRNO STEP`, `exited STATUS` (as wait(2)
has it), `left PID…` (each second that they resist SIGKILL) and `empty`; it is told
`t` (SIGTERM to the app's process group) and `k` (SIGKILL to all of it).

Standard library only: the guard imports this module without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH113

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import socket
from typing import Any, NoReturn

from .kernel import become_subreaper, die_with_parent, refuse_new_privileges, take_precedence, walk
from .purge import Purge

__all__ = ["IGNORED", "Shim", "Wakeup"]

IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What the guard ignores: meant for the agent, which then tells the guard."""

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


class Wakeup:
    """A descriptor that becomes readable when a child ends."""

    def __init__(self) -> None:
        self.fd, self._other = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._other, False)
        signal.set_wakeup_fd(self._other, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass

    def close(self) -> None:
        """Take nothing of it over into a fork."""
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._other)


class Shim:
    """The life of a shim; `run()` returns when nothing of the app is left."""

    def __init__(self, request: dict[str, Any], fds: list[int]) -> None:
        """request: argv, env, cwd, limits; fds: lifeline, stdout, stderr."""
        self._request = request
        self._lifeline = socket.socket(fileno=fds[0])
        self._output = fds[1:3]
        self._main = 0
        self._status: int | None = None
        self._kill = self._terminated = False

    def run(self) -> None:
        """Start the app, serve the agent, end the tree."""
        os.setsid()
        become_subreaper()
        self._wakeup = Wakeup()
        self._poll = select.poll()
        self._poll.register(self._lifeline, select.POLLIN)
        self._poll.register(self._wakeup.fd, select.POLLIN)
        self._hear()
        if self._kill:  # nobody is left to ask for it
            return
        try:
            self._fork()
        except OSError as exc:
            self._say(f"failed {exc.errno} fork")
            return
        self._live()
        self._end()

    def _fork(self) -> None:
        me = os.getpid()
        self._trouble, trouble = os.pipe()  # an exec closes it; a failure is written there
        self._main = os.fork()
        if not self._main:
            os.close(self._trouble)
            self._become_app(me, trouble)
        os.close(trouble)
        for fd in self._output:  # held by us the app's output would never end
            os.close(fd)
        self._poll.register(self._trouble, select.POLLIN)

    def _become_app(self, parent: int, trouble: int) -> NoReturn:
        """Never returns: all descriptors above 2 close on exec."""
        step = "prepare"
        request, argv = self._request, self._request["argv"]
        try:
            os.setsid()
            for name, limit in request["limits"].items():
                resource.setrlimit(getattr(resource, name), (limit, limit))
            if os.geteuid():
                refuse_new_privileges()
            die_with_parent()
            if os.getppid() != parent:
                os._exit(127)
            signal.set_wakeup_fd(-1)
            for signum in (*IGNORED, *_PYTHON_IGNORES):
                signal.signal(signum, signal.SIG_DFL)
            null = os.open(os.devnull, os.O_RDWR)
            for target, fd in enumerate((null, *self._output)):
                os.dup2(fd, target)
            step = "chdir"
            os.chdir(request["cwd"])
            step = "exec"
            os.execvpe(argv[0], argv, request["env"])  # noqa: S606  it is what was asked for
        except OSError as exc:
            if step == "exec" and exc.errno == errno.ENOENT and os.path.isfile(argv[0]):
                step = "interpreter"
            os.write(trouble, f"{exc.errno} {step}".encode())
        except ValueError:  # such as a NUL in an argument
            os.write(trouble, f"{errno.EINVAL} {step}".encode())
        finally:
            os._exit(127)

    def _live(self) -> None:
        """Return when the tree has to be killed."""
        while not self._kill:
            self._wait(None)
            self._reap()
            if self._status is not None and not (self._terminated and self._group_lives()):
                return

    def _end(self) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._main, signal.SIGKILL)
        take_precedence()
        purge = Purge()
        progress = True
        while self._reap():
            purge.round(progress=progress)
            progress = self._wait(purge.delay)
            if report := purge.report():
                self._say(f"left {report}", wait=False)
        self._say("empty")

    def _wait(self, timeout: float | None) -> bool:
        """Wait for a word of the agent or the end of a child; True if there was the latter.

        timeout: seconds
        """
        events = dict(self._poll.poll(None if timeout is None else timeout * 1000))
        if self._lifeline.fileno() in events:
            self._hear()
        if self._trouble in events:
            self._tell_start()
        if self._wakeup.fd in events:
            self._wakeup.drain()
            return True
        return False

    def _hear(self) -> None:
        try:
            words = self._lifeline.recv(256, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            words = b""
        if not words:
            self._poll.unregister(self._lifeline)
        if not words or b"k" in words:
            self._kill = True
        if b"t" in words and self._main and self._status is None:
            self._terminated = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._main, signal.SIGTERM)

    def _tell_start(self) -> None:
        """Pass on what became of the exec, once it is known."""
        if self._trouble < 0:
            return
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
            if pid == self._main:
                self._tell_start()
                self._status = status
                self._say(f"exited {status}")

    def _group_lives(self) -> bool:
        """Whether some member of the app's process group lives."""
        return any(p.group == self._main and p.is_alive for p in walk())

    def _say(self, line: str, *, wait: bool = True) -> None:
        flags = 0 if wait else socket.MSG_DONTWAIT
        with contextlib.suppress(OSError):
            self._lifeline.sendall(f"{line}\n".encode("ascii"), flags)
