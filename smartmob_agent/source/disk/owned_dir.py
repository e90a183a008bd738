"""The agent's own directory, locked, so that those of dead agents can be recognized.

The lock is on the directory itself (flock(2)).  The system's cleaner of old temporary files also
spares a locked directory (tmpfiles.d(5)).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from smartmob_agent.source.disk.rmtree import remove_tree

__all__ = ["open_owned_dir", "remove_dead"]

logger = logging.getLogger(__name__)

PREFIX = "smartmob-agent-"

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def open_owned_dir(parent: Path) -> Iterator[Path]:
    """Make a directory below `parent`, mode 0700, and lock it; the caller removes it.

    Raises `OSError`.
    """
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with _locked(path) as is_ours:
            # Before it was locked, another agent may have removed it as a dead agent's.
            if is_ours:
                yield path
                return


def remove_dead(parent: Path, check: Callable[[], None]) -> None:
    """Remove the directories below `parent` of agents that were killed.

    These have the name and the owner of an agent's directory, and no lock.  Files that cannot be
    removed are logged and stay.
    """
    for path in parent.glob(f"{PREFIX}*"):
        try:
            if path.lstat().st_uid != os.geteuid():
                continue
            with _locked(path) as is_ours:
                if is_ours:
                    remove_tree(path, check)
                    logger.info("removed what a dead agent left", extra={"path": str(path)})
        except FileNotFoundError:  # another agent was quicker
            continue
        except OSError as exc:
            logger.warning("cannot remove", extra={"path": str(path), "error": str(exc)})


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Try to lock a directory; False if another agent has locked it, or it is gone."""
    try:
        fd = os.open(path, DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_same = os.path.samestat(os.fstat(fd), path.lstat())
        except (BlockingIOError, FileNotFoundError):
            is_same = False
        yield is_same
    finally:
        os.close(fd)
