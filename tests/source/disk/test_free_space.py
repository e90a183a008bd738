"""The part of a disk that stays free."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartmob_agent.source.disk.free_space import LOOK_BYTES, FreeSpace


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def free(fd: int) -> int:
    disk = os.statvfs(fd)
    return disk.f_bavail * disk.f_frsize


def test_there_is_room_where_the_disk_has_it(fd: int) -> None:
    room = FreeSpace(fd=fd, min_free_bytes=0)
    for _ in range(3):
        room.take(LOOK_BYTES // 2)


def test_what_is_to_stay_free_is_not_given_away(fd: int) -> None:
    """Not even for nothing; the message says what was expected and found."""
    with pytest.raises(OSError, match=r"expected .* bytes of the disk to stay free") as info:
        FreeSpace(fd=fd, min_free_bytes=1 << 62).take(1)
    assert info.value.errno == errno.ENOSPC


def test_what_is_larger_than_the_disk_is_refused_before_it_is_written(fd: int) -> None:
    with pytest.raises(OSError, match=r"beside .* that are to be written, found"):
        FreeSpace(fd=fd, min_free_bytes=0).take(2 * free(fd) + LOOK_BYTES)


def test_the_disk_is_looked_at_again(tmp_path: Path) -> None:
    """Others write to it, too: here it is another one all of a sudden."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_CLOEXEC)
    room = FreeSpace(fd=fd, min_free_bytes=0)
    room.take(1)
    os.close(fd)
    room.take(LOOK_BYTES // 2)
    with pytest.raises(OSError, match="Bad file descriptor"):
        room.take(LOOK_BYTES)
