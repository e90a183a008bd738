"""The process group of an app: what is told to it, and waiting for its end.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import os
import select

from .bare import signal, suppress
from .calm import Calm
from .kernel import children, handles, runs, signal_member, walk

__all__ = ["Group"]


_SHELL = "/bin/sh"
_FOR_ALL = (
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCONT,
)
"""A shell is to end, stop and go on with its commands."""
_ROUNDS = 3
"""Looks for members that others have forked while they were being signalled."""

_LAST_SIGNAL = 64
"""SIGRTMAX; the letters that are words come after it."""


class Group:
    """A process group below us."""

    def __init__(self, poll: select.poll) -> None:
        """Let `poll` tell when the member that is watched ends."""
        self.leader = 0
        """Its number, while it has not been reaped."""
        self.was_told = False
        """Whether it was told to end."""
        self.calm = Calm()
        self._poll = poll
        self._member = -1
        self._mode = 0
        """The word before the next signal, which says what is to become of it."""

    def tell(self, words: bytes) -> None:
        """Send the signals that words of the agent ask for, if there still is a leader."""
        for word in words:
            if word > _LAST_SIGNAL:
                self._mode = word
                continue
            mode, self._mode = self._mode, 0
            if mode == ord("t"):
                self._ask(word)
            elif not self.leader:
                pass
            elif mode == ord("a"):
                _signal_app(self.leader, word)
            elif not _signal_below_shell(self.leader, word):
                _signal(self.leader, word)

    def _ask(self, number: int) -> None:
        """All are to end by this signal."""
        self.was_told = True
        if self.leader:
            _signal(self.leader, number)
            self.calm.begin()
            _signal(self.leader, signal.SIGCONT)  # who is stopped cannot do as told

    def kill(self, group: int) -> None:
        """Send SIGKILL to all members."""
        _signal(group, signal.SIGKILL)

    def watch(self, group: int) -> bool:
        """Watch for the end of a member of the group; False if none is left.

        Its parent may live, and be told instead of us.  That it leaves the group, nobody is
        told: so the caller looks again from time to time.
        """
        if self._member >= 0:
            self._poll.unregister(self._member)
            os.close(self._member)
            self._member = -1
        try:
            os.killpg(group, 0)
        except ProcessLookupError:  # most often: then no look at the tree is needed
            return False
        except PermissionError:
            pass
        for process in walk():
            if process.group == group and process.is_alive:
                with suppress(ProcessLookupError):
                    self._member = os.pidfd_open(process.pid)
                    self._poll.register(self._member, select.POLLIN)
                    return True
        return False


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _signal_below_shell(leader: int, number: int) -> bool:
    """Send a signal to what a shell has started, which is the app; False if there is no such shell.

    A shell that waits for a pipe or a compound command has no handler, and would die of a signal
    that its commands handle.  One that has a handler (`trap`) is an app itself.
    """
    if number in _FOR_ALL or not _is_waiting_shell(leader, number):
        return False
    seen = {leader}
    for _ in range(_ROUNDS):
        members = {
            process.pid for process in walk() if process.group == leader and process.is_alive
        }
        for pid in members - seen:
            if not _is_waiting_shell(pid, number):
                signal_member(pid, leader, number)
        seen |= members
    return True


def _signal_app(leader: int, number: int) -> None:
    """Send a signal to the app alone, and let it go on, so that it can do as told.

    The app is the leader, or what a shell that only waits has started.
    """
    shells, apps = [leader], []
    while shells:
        pid = shells.pop()
        if _is_waiting_shell(pid, number):
            shells += children(pid)
        else:
            apps.append(pid)
    for pid in apps:
        signal_member(pid, leader, number)
        signal_member(pid, leader, signal.SIGCONT)


def _is_waiting_shell(pid: int, number: int) -> bool:
    return runs(pid, _SHELL) and bool(children(pid)) and not handles(pid, number)
