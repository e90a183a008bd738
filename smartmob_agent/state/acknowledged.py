"""What was acknowledged last, beside the database: so that a loss is noticed.

SQLite drops a damaged write-ahead log from the first bad frame on, and a missing one altogether,
and says nothing.  Here stands the revision that was reached: an older database was cut short.

It is written after each commit, in its place and without a wait for the disk: so after a power cut
it may be older than the database, and never newer.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from pathlib import Path

import attrs

from smartmob_agent.errors import StartError
from smartmob_agent.state.state_dir import sync_dir

__all__ = ["Acknowledged", "AcknowledgedFile", "read_acknowledged"]

SLOT_BYTES = 4096
"""A power cut can spoil the slot that is being written: there are two, in different blocks."""
RECORD_BYTES = 96
WORDS = "smartmob-agent acknowledged"


@attrs.frozen(kw_only=True)
class Acknowledged:
    """A revision of the database with an identity."""

    identity: str
    revision: int

    def record(self) -> bytes:
        text = f"{WORDS} {self.identity} {self.revision:020d}"
        return f"{text} {zlib.crc32(text.encode()):08x}\n".ljust(RECORD_BYTES).encode()


def read_acknowledged(path: Path) -> Acknowledged | None:
    """Return what is in the file; None if there is no file.

    Raises `StartError` when both slots are damaged, `OSError`.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    found = [_parse(content[start : start + RECORD_BYTES]) for start in (0, SLOT_BYTES)]
    whole = [one for one in found if one is not None]
    if not whole:
        raise StartError(
            f"{path} is damaged, so nobody knows whether the state beside it is complete: "
            "restore the whole directory from a backup, or move it away to start with no processes"
        )
    return max(whole, key=lambda one: one.revision)


def _parse(record: bytes) -> Acknowledged | None:
    text = record.decode("ascii", "replace")
    words = text.removeprefix(WORDS).split()
    if len(words) != 3 or not words[1].isdecimal():
        return None
    found = Acknowledged(identity=words[0], revision=int(words[1]))
    return found if found.record() == record else None


class AcknowledgedFile:
    """The open file; `close` ends its use."""

    def __init__(self, path: Path, identity: str, revision: int) -> None:
        """Open the file, or make it with a revision that is on the disk.

        Raises `OSError`.
        """
        self._identity = identity
        if not path.exists():
            _make(path, Acknowledged(identity=identity, revision=revision).record())
        self._fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def write(self, revision: int) -> None:
        """Note a revision.

        Raises `OSError`.
        """
        record = Acknowledged(identity=self._identity, revision=revision).record()
        os.pwrite(self._fd, record, revision % 2 * SLOT_BYTES)

    def close(self) -> None:
        os.close(self._fd)


def _make(path: Path, record: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        # Another process has no use for half a file, so one write is enough: less is an error.
        for start in (0, SLOT_BYTES):
            if os.pwrite(fd, record, start) != len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(path)
    sync_dir(path.parent)
