"""The end of a child's cgroup, with those that the child may have made below it.

Standard library only: the guard imports this module without the rest of the package.
"""

# Without pathlib, which would cost each shim memory:
# ruff: noqa: PTH106

from __future__ import annotations

import os

from .bare import signal, suppress

__all__ = ["kill_cgroup", "remove_cgroup"]

_HANDFUL = 128
"""Descriptors that are held at a time."""


def kill_cgroup(path: str) -> None:
    """SIGKILL for all in a cgroup, if it is there.

    At once where the kernel can (Linux 5.14); before, one after the other, and who forks
    meanwhile may be missed: so the caller does it again until none is left.
    """
    with suppress(OSError):  # ENODEV: it is removed just now
        try:
            fd = os.open(f"{path}/cgroup.kill", os.O_WRONLY)
        except FileNotFoundError:
            for directory, _, _ in os.walk(path):
                _kill_members(directory)
        else:
            try:
                os.write(fd, b"1")
            finally:
                os.close(fd)


def remove_cgroup(path: str) -> None:
    """Remove a cgroup as far as it is empty, from the bottom up; no effect if it is gone."""
    for directory, _, _ in os.walk(path, topdown=False):
        with suppress(OSError):
            os.rmdir(directory)


def _kill_members(directory: str) -> None:
    todo = list(_members(directory))
    while todo:
        held: list[tuple[int, int]] = []
        for pid in todo[:_HANDFUL]:
            with suppress(OSError):
                held.append((pid, os.pidfd_open(pid)))
        members = _members(directory)  # who is in there now is who the descriptor is of
        for pid, pidfd in held:
            if pid in members:  # pragma: no branch  -- another has got the number just now
                with suppress(OSError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        del todo[:_HANDFUL]


def _members(directory: str) -> set[int]:
    with suppress(OSError):
        fd = os.open(f"{directory}/cgroup.procs", os.O_RDONLY)
        try:
            data = b""
            while more := os.read(fd, 65536):
                data += more
            return set(map(int, data.split()))
        finally:
            os.close(fd)
    return set()
