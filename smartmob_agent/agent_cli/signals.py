"""The signals that the command obeys: from its first instruction on, whoever started it."""

from __future__ import annotations

import signal

__all__ = ["hold_signals", "release_signals"]

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
