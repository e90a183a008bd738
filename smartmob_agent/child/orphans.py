"""The duty of the first process of a container: to collect orphans that are not its own."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Collection

import trio

from smartmob_agent.child.guard.kernel import children

__all__ = ["reap_orphans"]


async def reap_orphans(own: Callable[[], Collection[int]]) -> None:
    """Reap children that others have left to us, for ever; kill nobody.

    own: tells the children that somebody here waits for.  Never `waitpid(-1)`, which
    would take their exit status away: measured, trio read 0 instead of 7 in 11 of 50 runs.

    Runs in the main thread only, since it listens to SIGCHLD.
    """
    with trio.open_signal_receiver(signal.SIGCHLD) as arrivals:
        _reap(own())
        async for _ in arrivals:
            _reap(own())


def _reap(own: Collection[int]) -> None:
    for pid in children(os.getpid()):
        if pid not in own:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
