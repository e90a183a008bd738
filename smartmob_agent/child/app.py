"""The last steps before an app: what a fork of the shim does until it executes the program.

Standard library only: the guard imports this module without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH113

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
from collections.abc import Collection
from typing import Any, NoReturn

from .isolation import host_pid, mount_own_proc, reap_as_init, tie_to_parent
from .kernel import die_with_parent, refuse_new_privileges
from .wire import receive_message, rehearse

__all__ = ["IGNORED", "App"]

IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What the guard ignores: meant for the agent, which then tells the guard."""

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


class App:
    """An app that is to be; all descriptors but its output close when it executes."""

    def __init__(self, parent: int) -> None:
        """An app of which nothing is known yet.

        parent: pid of the shim.
        """
        self.trouble = -1
        """A pipe for `ERRNO STEP` of a failure; executing the program closes it."""
        self.report = -1
        """A pipe for the first process of a namespace: `main PID`, `exited STATUS`."""
        self.request: dict[str, Any] = {}
        """argv, env, cwd, limits, isolation, cgroup."""
        self.fds: list[int] = []
        """stdout, stderr and, with a cgroup, its cgroup.procs."""
        self._parent = parent
        self._step = "prepare"

    def await_request(self, requests: socket.socket) -> NoReturn:
        """Turn this process into the app of the only request that comes."""
        try:
            os.setsid()
            die_with_parent()
            if os.getppid() == self._parent:
                self._take_over()
                rehearse()
                if request := receive_message(requests):
                    self.request, self.fds = request
                    self.become(but=())
        finally:
            os._exit(127)

    def close(self) -> None:
        """Close the descriptors, in the shim."""
        for fd in (self.trouble, self.report, *self.fds):
            if fd >= 0:
                os.close(fd)

    def become(self, *, but: Collection[int]) -> NoReturn:
        """Turn this process into the app.

        but: descriptors of the shim that a process which stays behind must not hold.
        """
        try:
            self._become(but)
        except OSError as exc:
            os.write(self.trouble, f"{exc.errno} {self._step}".encode())
        except ValueError:  # such as a NUL in an argument
            os.write(self.trouble, f"{errno.EINVAL} {self._step}".encode())
        finally:
            os._exit(127)

    def _become(self, but: Collection[int]) -> None:
        argv = self.request["argv"]
        if self.request["cgroup"]:
            self._step = "cgroup"
            os.write(self.fds[2], b"0")  # "0" is the writer, cgroups(7)
        if self.request["isolation"]:
            self._step = "isolate"
            self._fork_again(but)
            self._step = "prepare"
            os.setsid()
            die_with_parent()
            if os.getppid() != 1:
                return
            self._take_over()
        for name, limit in self.request["limits"].items():
            resource.setrlimit(getattr(resource, name), (limit, limit))
        for target in (1, 2):
            os.dup2(self.fds[target - 1], target)
        self._step = "chdir"
        os.chdir(self.request["cwd"])
        self._step = "exec"
        try:
            os.execvpe(argv[0], argv, self.request["env"])  # noqa: S606  it was asked for
        except FileNotFoundError:
            if os.path.isfile(argv[0]):
                self._step = "interpreter"
            raise

    def _fork_again(self, but: Collection[int]) -> None:
        """Stay behind as the first process of the namespace; return in the app."""
        for fd in but:
            os.close(fd)
        tie_to_parent(self.trouble)
        if main := os.fork():
            for fd in (self.trouble, *self.fds):
                os.close(fd)
            reap_as_init(main, self.report)
        os.write(self.report, f"main {host_pid()}\n".encode("ascii"))
        mount_own_proc()

    def _take_over(self) -> None:
        """Put on what all apps are given."""
        if os.geteuid():
            refuse_new_privileges()
        signal.set_wakeup_fd(-1)
        for signum in (*IGNORED, *_PYTHON_IGNORES):
            signal.signal(signum, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
