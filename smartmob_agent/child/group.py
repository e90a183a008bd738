"""Waiting for a process group that was told to end.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import os
import select

from .bare import suppress
from .kernel import walk

__all__ = ["Group"]


class Group:
    """Watches a member of a process group below us."""

    def __init__(self, poll: select.poll) -> None:
        """Let `poll` tell when the member that is watched ends."""
        self._poll = poll
        self._member = -1

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
