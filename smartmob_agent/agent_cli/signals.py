"""The signals that the command obeys: from its first instruction on, whoever started it."""

from __future__ import annotations

import signal
from collections.abc import Iterable

__all__ = ["hold_signals", "ignore_signals", "outlive_signals", "release_signals"]

_OBEYED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def hold_signals() -> None:
    """Let signals wait until there is somebody to obey them.

    Else SIGHUP would end a command that still loads its modules, and SIGINT leave a traceback.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _OBEYED)


def release_signals() -> None:
    """Let them come, also where they were blocked by whoever started the command.

    A Java program, for example, or a thread of Ruby hands its own mask down to what it starts.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OBEYED)


def outlive_signals(numbers: Iterable[signal.Signals]) -> None:
    """Let these do nothing where nobody receives them: at the end they come too late.

    By a handler, and not by SIG_IGN, which would discard those that are held back.  To block them
    is not enough: threads have masks of their own.
    """
    for number in numbers:
        signal.signal(number, lambda *_: None)


def ignore_signals() -> None:
    """Ignore them for the rest of this program: handlers of Python end before it does."""
    for number in _OBEYED:
        signal.signal(number, signal.SIG_IGN)
