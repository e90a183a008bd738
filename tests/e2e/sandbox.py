"""Who counts survivors: the kernel, not the code under test.

As root with cgroup v2: a fresh cgroup, which nothing leaves by forking, by a new session or by
losing its parent.  Else a PID namespace, whose first process outlives the program.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from smartmob_agent.child.guard.kernel import children

__all__ = ["Sandbox", "cgroup_root", "open_sandbox", "wait_end"]

_NS_GET_PARENT = 0xB702  # <linux/nsfs.h>

_INIT = """
import os, signal, sys
if not os.fork():
    os.execvp(sys.argv[1], sys.argv[1:])
for fd in (0, 1):
    os.close(fd)
while True:
    try:
        os.wait()
    except ChildProcessError:  # so nothing is left that could make any
        signal.pause()
"""


def cgroup_root() -> Path | None:
    """Where cgroup v2 is mounted, if we may make cgroups there."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(Path(place) / "cgroup.procs", os.W_OK):
            return Path(place)
    return None


class Sandbox(Protocol):
    """Where a program runs whose descendants are to be counted."""

    def start(
        self, argv: Sequence[str], *, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the program, with pipes for its input and output."""
        ...

    def main_pid(self) -> int:
        """The number of the program that was started."""
        ...

    def pids(self) -> set[int]:
        """All that live in there, by the numbers that we see."""
        ...

    def pid(self, inside: int) -> int:
        """The number that we see of a process with that number in there."""
        ...

    def wait_only(self, spared: set[int], timeout: float) -> None:
        """Wait until nothing but these lives in there, and none is a zombie.

        Raises `AssertionError` with what is left after `timeout` seconds.
        """
        ...

    def wait_empty(self, timeout: float) -> float:
        """Wait until nothing lives in there; returns the seconds that it took.

        Raises `AssertionError` with what is left after `timeout` seconds.
        """
        ...


class CgroupSandbox:
    """A fresh cgroup."""

    def __init__(self, root: Path) -> None:
        self.directory = root / f"smartmob-test-{uuid.uuid4().hex}"
        self.directory.mkdir()
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self, argv: Sequence[str], *, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        enter = ["/bin/sh", "-c", 'echo 0 > "$0" && exec "$@"']
        process = _popen([*enter, str(self.directory / "cgroup.procs"), *argv], env)
        self._started.append(process)
        return process

    def main_pid(self) -> int:
        return self._started[-1].pid

    def pids(self) -> set[int]:
        lists = self.directory.rglob("cgroup.procs")
        return {int(pid) for members in lists for pid in members.read_text().split()}

    def pid(self, inside: int) -> int:
        return inside

    def wait_only(self, spared: set[int], timeout: float) -> None:
        _wait_only(self, spared, timeout)

    def wait_empty(self, timeout: float) -> float:
        start = time.monotonic()
        with (self.directory / "cgroup.events").open("rb") as events:
            changes = select.poll()
            changes.register(events, select.POLLPRI)  # cgroups(7): cgroup.events
            while b"populated 1" in events.read():
                left = start + timeout - time.monotonic()
                assert left > 0, f"left after {timeout} s: {_names(self.pids())}"
                changes.poll(left * 1000)
                events.seek(0)
        return time.monotonic() - start

    def close(self) -> None:
        (self.directory / "cgroup.kill").write_text("1")
        for process in self._started:
            _close(process)
        self.wait_empty(10)
        for directory, _, _ in os.walk(self.directory, topdown=False):
            Path(directory).rmdir()


class NamespaceSandbox:
    """A PID namespace, looked at from the outside."""

    def __init__(self) -> None:
        self._outer: subprocess.Popen[bytes] | None = None
        self._init = self._inode = 0

    def start(
        self, argv: Sequence[str], *, env: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        # With --kill-child its end ends all: that is `close()`.
        # Not -r, which would let an ordinary user's agent take itself for root's.
        enter = ["unshare", "-Ucpf", "--mount-proc", "--kill-child"]
        init = [sys.executable, "-ISE", "-c", _INIT]
        self._outer = outer = _popen([*enter, *init, *argv], env)
        return outer

    def main_pid(self) -> int:
        assert self._outer
        (self._init,) = children(self._outer.pid)
        self._inode = Path(f"/proc/{self._init}/ns/pid").stat().st_ino
        return children(self._init)[0]

    def pids(self) -> set[int]:
        if not self._init:
            self.main_pid()
        everyone = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        return {pid for pid in everyone if self._contains(pid)} - {self._init}

    def pid(self, inside: int) -> int:
        for pid in self.pids():
            _, _, numbers = Path(f"/proc/{pid}/status").read_text().partition("\nNSpid:")
            if int(numbers.split("\n")[0].split()[1]) == inside:
                return pid
        raise ProcessLookupError(inside)

    def _contains(self, pid: int) -> bool:
        try:
            fd = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)  # fails for zombies
        except OSError:
            return False
        try:
            while os.fstat(fd).st_ino != self._inode:
                above = fcntl.ioctl(fd, _NS_GET_PARENT)
                os.close(fd)
                fd = above
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def wait_only(self, spared: set[int], timeout: float) -> None:
        _wait_only(self, spared, timeout)

    def wait_empty(self, timeout: float) -> float:
        start = time.monotonic()
        _wait_only(self, set(), timeout)
        return time.monotonic() - start

    def close(self) -> None:
        if self._outer:
            self._outer.kill()
            _close(self._outer)


@contextlib.contextmanager
def open_sandbox() -> Iterator[Sandbox]:
    """The best sandbox to be had here, ended with all in it at the end of the block."""
    root = cgroup_root()
    sandbox = CgroupSandbox(root) if root else NamespaceSandbox()
    try:
        yield sandbox
    finally:
        sandbox.close()


def _popen(argv: Sequence[str], env: dict[str, str] | None) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, env=env, stdin=pipe, stdout=pipe, start_new_session=True)


def _close(process: subprocess.Popen[bytes]) -> None:
    with process:  # waits, and closes the pipes
        pass


def _names(pids: set[int]) -> list[str]:
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            found.append(b" ".join(words).decode().strip())
    return found


def _wait_only(sandbox: Sandbox, spared: set[int], timeout: float) -> None:
    end = time.monotonic() + timeout
    while pids := sandbox.pids() - spared:
        for pid in pids:
            left = end - time.monotonic()
            assert left > 0, f"left after {timeout} s: {_names(pids)}"
            wait_end(pid, left)


def wait_end(pid: int, timeout: float) -> None:
    """Wait for the end of a process that is nobody's child here."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([pidfd], [], [], timeout)
    finally:
        os.close(pidfd)
