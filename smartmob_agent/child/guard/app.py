"""An app on its way: a fork of the shim, until it executes the program.

Standard library only: the guard imports this module without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH113

from __future__ import annotations

import errno
import os
import resource

from .bare import TYPE_CHECKING, Socket, open_pair, signal
from .isolation import (
    begin_somewhere,
    enter_pid_namespace,
    host_pid,
    mount_own_proc,
    reap_as_init,
    tie_to_parent,
)
from .kernel import die_with_parent, refuse_new_privileges
from .wire import receive_message, rehearse, send

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any, NoReturn

__all__ = ["IGNORED", "App"]

IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What the guard ignores: meant for the agent, which then tells the guard."""

_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


class App:
    """An app that is to be, in the hands of its shim.

    It is forked before it is known, if it can be: then it does what is the same for all,
    and waits for a request as the shim does.
    """

    def __init__(self, *, isolated: bool) -> None:
        """An app of which nothing is known yet.

        isolated: whether it will have a PID namespace; so it cannot be forked before.
        """
        self.pid = 0
        """Of our fork: the app, or the first process of its namespace; 0 if there is none."""
        self.trouble, self._trouble = os.pipe()
        """Where `ERRNO STEP` of a failure comes; executing the program closes it."""
        self.report = self._report = -1
        """Where the first process of a namespace tells `main PID`, `exited STATUS`."""
        self._isolated = isolated
        self._request: dict[str, Any] = {}
        """argv, env, cwd, limits, isolation, cgroup."""
        self._fds: list[int] = []
        """stdout, stderr and, with a cgroup, its cgroup.procs."""
        self._shim = os.getpid()
        self._failure: OSError | None = None
        self._step = "prepare"

    def prepare(self, but: Collection[int]) -> None:
        """Fork the app, if that can be done before it is known.

        but: descriptors that it must not hold while it waits
        """
        if self._isolated:
            return
        self._stage, theirs = open_pair()
        with theirs:
            try:
                self.pid = os.fork()
            except OSError as exc:  # told when it is asked for
                self._failure = exc
            else:
                if not self.pid:
                    for fd in (*but, self._stage.detach(), self.trouble):
                        os.close(fd)
                    self._await_request(theirs)

    def start(self, request: dict[str, Any], fds: list[int], *, but: Collection[int]) -> None:
        """Let it become what is asked for.

        fds: its stdout, stderr and, with a cgroup, cgroup.procs; they are closed here
        but: descriptors that a process which stays behind must not hold

        Raises `OSError` when there is no app; `dismiss()` is due then.
        """
        if self._failure:
            raise self._failure
        self._request, self._fds = request, fds
        if self._isolated:
            self.report, self._report = os.pipe()
            os.set_blocking(self.report, False)
            enter_pid_namespace()
            self.pid = os.fork()
            if not self.pid:
                self._become_app(but=(*but, self.trouble, self.report))
        else:
            with self._stage as stage:
                send(stage, request, fds)
        for fd in (self._trouble, self._report, *fds):
            if fd >= 0:  # held by us the output would never end
                os.close(fd)

    def dismiss(self) -> None:
        """End an app that is not to be; not even a zombie is left to others."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _await_request(self, requests: Socket) -> NoReturn:
        """Turn this process into the app of the only request that comes."""
        try:
            os.setsid()
            die_with_parent()
            if os.getppid() == self._shim:
                self._take_over()
                rehearse()
                if request := receive_message(requests):
                    self._request, self._fds = request
                    self._become_app(but=())
        finally:
            os._exit(127)

    def _become_app(self, *, but: Collection[int]) -> NoReturn:
        """Turn this process into the app."""
        try:
            self._become(but)
        except OSError as exc:
            os.write(self._trouble, f"{exc.errno} {self._step}".encode())
        except ValueError:  # such as a NUL in an argument
            os.write(self._trouble, f"{errno.EINVAL} {self._step}".encode())
        finally:
            os._exit(127)

    def _become(self, but: Collection[int]) -> None:
        argv = self._request["argv"]
        if self._request["cgroup"]:
            self._step = "cgroup"
            os.write(self._fds[2], b"0")  # "0" is the writer, cgroups(7)
        if self._request["isolation"]:
            self._step = "isolate"
            self._fork_again(but)
            self._step = "prepare"
            os.setsid()
            die_with_parent()
            if os.getppid() != 1:
                return
            self._take_over()
        for name, limit in self._request["limits"].items():
            resource.setrlimit(getattr(resource, name), limit)
        for target in (1, 2):
            os.dup2(self._fds[target - 1], target)
        self._step = "chdir"
        os.chdir(self._request["cwd"])
        self._step = "exec"
        try:
            os.execvpe(argv[0], argv, self._request["env"])  # noqa: S606  it was asked for
        except FileNotFoundError:
            if os.path.isfile(argv[0]):
                self._step = "interpreter"
            raise

    def _fork_again(self, but: Collection[int]) -> None:
        """Stay behind as the first process of the namespace; return in the app."""
        for fd in but:
            os.close(fd)
        tie_to_parent(self._trouble)
        begin_somewhere()
        if main := os.fork():
            for fd in (self._trouble, *self._fds):
                os.close(fd)
            reap_as_init(main, self._report)
        os.write(self._report, f"main {host_pid()}\n".encode("ascii"))
        mount_own_proc()

    def _take_over(self) -> None:
        """Put on what all apps are given."""
        if os.geteuid():
            refuse_new_privileges()
        signal.set_wakeup_fd(-1)
        for signum in (*IGNORED, *_PYTHON_IGNORES):
            signal.signal(signum, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
