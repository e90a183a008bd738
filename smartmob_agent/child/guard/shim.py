"""The shim: one small process above each app, which sees that nothing of it stays.

It is the subreaper of the app's tree, and holds one end of a lifeline whose other end is in
the agent alone: end of file there means that the agent is gone.  It is done when
`waitpid` says ECHILD, the kernel's word that nothing is left.

On the lifeline it says `started PID OWN_PID`, `failed ERRNO STEP`, `exited STATUS` (as wait(2)
has it), `left PID…` (each second that they resist SIGKILL) and `empty`; it is told
`k` (SIGKILL to all of it), and the numbers of signals to the app's process group, each as one byte.
`t` before a number: the group is to end by it; `a`: it goes to the app alone.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import os
import select

from .app import App
from .bare import TYPE_CHECKING, Socket, signal
from .cgroup_kill import kill_cgroup, remove_cgroup
from .group import Group
from .kernel import become_subreaper, go_on_with_parent
from .lifeline import Lifeline
from .purge import Purge
from .schedule import take_precedence, wake_quickly
from .wakeup import Wakeup
from .wire import receive_message, rehearse

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Shim"]


_FIRST_LOOK, _LAST_LOOK = 0.025, 1.0
"""Seconds between two looks at a group that was told to end."""

_PATIENCE = 0.1
"""Seconds for the end of the app when the agent is gone: with it all others end as well,
and who would look for more meanwhile takes their time."""


class Shim:
    """The life of a shim; `run()` returns when nothing of the app is left."""

    def __init__(self, requests: Socket, *, isolated: bool) -> None:
        """The life of a shim begins with a request, the only one on its socket.

        It tells argv, env, cwd, limits, isolation and cgroup; its descriptors are the
        lifeline, stdout, stderr and, with a cgroup, its cgroup.procs.
        """
        self._requests = requests
        self._isolated = isolated
        self._request: dict[str, Any] = {}
        self._fds: list[int] = []
        self._lifeline: Lifeline
        self._child = 0
        """What we have forked; 0 once it is reaped."""
        self._main = 0
        """The app: our child, or that of the first process of its namespace."""
        self._status: int | None = None
        self._kill = self._is_subreaper = False

    def run(self) -> None:
        """Wait for the request, start the app, serve the agent, end the tree.

        Raises whatever it did not expect; then something may be left.
        """
        os.setsid()
        go_on_with_parent()
        self._is_subreaper = become_subreaper()
        self._wakeup = Wakeup()
        self._poll = select.poll()
        self._poll.register(self._wakeup.fd, select.POLLIN)
        self._group = Group(self._poll)
        self._app = App(isolated=self._isolated)
        self._app.prepare(but=(self._requests.fileno(),))
        if self._await_request() and self._start():
            self._live()
            self._end()
        else:
            self._app.dismiss()

    def _await_request(self) -> bool:
        """False if the zygote has ended instead."""
        rehearse()
        with self._requests:
            request = receive_message(self._requests)
        if request is None:
            return False
        self._request, (lifeline, *self._fds) = request
        self._lifeline = Lifeline(lifeline)
        return True

    def _start(self) -> bool:
        """Start the app, in a PID namespace of its own if that was asked for; or say why not."""
        app = self._app
        self._poll.register(self._lifeline.fd, select.POLLIN)
        self._hear()
        if self._kill:  # nobody is left to ask for it
            return False
        try:
            app.start(self._request, self._fds, but=(self._lifeline.fd,))
        except ConnectionError:  # the app was killed as it waited: no word, so it is tried again
            return False
        except OSError as exc:
            step = "isolate" if self._isolated else "fork"
            self._lifeline.say(f"failed {exc.errno} {step}")
            return False
        self._child, self._trouble, self._report = app.pid, app.trouble, app.report
        self._poll.register(self._trouble, select.POLLIN)
        if self._isolated:
            self._poll.register(self._report, select.POLLIN)
        else:
            self._main = self._group.leader = self._child
        return True

    def _live(self) -> None:
        """Return when the tree has to be killed."""
        wake_quickly()
        patience: float | None = None
        while True:
            self._wait(self._group.calm.limit(patience))
            if self._kill:
                return
            self._reap()
            if self._status is not None:
                if not (self._group.was_told and self._group.watch(self._main)):
                    return
                patience = min(2 * (patience or _FIRST_LOOK), _LAST_LOOK)
            self._group.calm.end_in_time()

    def _end(self) -> None:
        """Return when nothing is left."""
        if cgroup := self._request["cgroup"]:
            kill_cgroup(cgroup)
        if self._isolated and self._child:
            os.kill(self._child, signal.SIGKILL)  # takes the namespace along
        elif self._main and (self._status is None or not self._is_subreaper):
            self._group.kill(self._main)  # not a subreaper: the group is all that is known
        self._wait(_PATIENCE if self._lifeline.is_alone else 0)
        if self._reap():
            self._purge()
        self._group.calm.end()
        if cgroup:
            remove_cgroup(cgroup)
        self._lifeline.say("empty")

    def _purge(self) -> None:
        """Kill what is left, though it may fork meanwhile."""
        take_precedence()
        purge = Purge(gently=self._lifeline.is_alone)
        progress = True
        while self._reap():
            purge.round(progress=progress)
            progress = self._wait(purge.delay)
            if report := purge.report():
                self._lifeline.say(f"left {report}", wait=False)
        purge.finish()

    def _wait(self, timeout: float | None) -> bool:
        """Wait for a word of the agent or the end of a child; True if there was the latter.

        timeout: seconds
        """
        events = dict(self._poll.poll(None if timeout is None else timeout * 1000))
        if self._report in events:  # first: who has ended there is told nothing any more
            self._hear_init()
        if self._lifeline.fd in events:
            self._hear()
        if self._trouble in events:
            self._tell_start()
        if self._wakeup.fd in events:
            self._wakeup.drain()
            return True
        return False

    def _hear(self) -> None:
        """Do what the agent has told us, if anything."""
        if self._lifeline.is_alone:
            return
        words = self._lifeline.hear()
        if words is None:
            self._poll.unregister(self._lifeline.fd)
            self._kill = True
            return
        if b"k" in words:
            self._kill = True
        if self._main and self._status is None:
            self._group.tell(words)

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
        started = f"started {self._main} {os.getpid()}"
        self._lifeline.say(f"failed {trouble}" if trouble else started)

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
                self._child = 0

    def _note_exit(self, status: int) -> None:
        if self._status is None:
            self._tell_start()
            self._group.leader = 0
            self._hear()  # what was told before the end counts as told before it
            self._status = status
            self._lifeline.say(f"exited {status}")

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
                self._main = self._group.leader = int(number)
            else:
                self._note_exit(int(number))
        if not words:
            self._poll.unregister(self._report)
            os.close(self._report)
            self._report = -1
