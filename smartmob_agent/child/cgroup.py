"""A cgroup v2 directory that was delegated to the agent: a cgroup for each child.

Who delegates: systemd with `Delegate=yes`, or root by `chown` of a directory (cgroups(7),
"Delegation").  The layout is::

    DIRECTORY        locked by its agent
    ├── agent        the agent with its guard, if it was started in DIRECTORY
    ├── app-1-1      a child with its descendants
    └── app-1-2
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from smartmob_agent.child.guard.cgroup_kill import kill_cgroup, remove_cgroup
from smartmob_agent.child.request import SpawnRequest
from smartmob_agent.child.seam import NO_LIMITS, ResourceLimits
from smartmob_agent.errors import StartError

__all__ = ["Cgroups", "find_delegated_cgroup", "open_cgroups"]

CONTROLLERS = ("pids", "memory", "cpu")

_CLEAR_TIMEOUT = 5.0
"""Seconds for the end of what a killed agent has left; a thousand processes took 0.03 s."""

_KILL_INTERVAL = 0.05
"""Seconds; only before Linux 5.14 once is not enough for those that fork."""


@attrs.define(eq=False)
class Cgroups:
    """Makes and removes the cgroups of children."""

    _directory: Path
    _pids_max: int | None
    """Written to each cgroup; None if the kernel would not count."""
    controllers: frozenset[str] = frozenset()
    """Of what else each cgroup can have a limit: `memory`, `cpu`, `pids`."""
    _count: int = attrs.field(default=0, init=False)
    _ended: list[Path] = attrs.field(factory=list, init=False)
    """To be removed."""

    @property
    def limits_processes(self) -> bool:
        """Whether the kernel counts the processes of each cgroup."""
        return self._pids_max is not None

    def hint(self, path: Path) -> str:
        """Why a child that has just failed may have: it has met its pids.max; else empty."""
        with contextlib.suppress(OSError):  # its shim has removed it
            if int((path / "pids.events").read_text().split()[1]):
                most = (path / "pids.max").read_text().strip()
                option = "--max-processes" if most == str(self._pids_max) else "limits.tasks"
                return f"it has met its limit of {most} processes and threads ({option})"
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (path / "memory.events").read_text().split()
            if int(words[words.index("oom_kill") + 1]):
                most = (path / "memory.max").read_text().strip()
                return f"it has met its limit of {most} bytes of memory (limits.memory_bytes)"
        return ""

    def enter(self, request: SpawnRequest, limits: ResourceLimits = NO_LIMITS) -> Path:
        """Let the child that is asked for be in a new cgroup; the caller removes it.

        limits: those that a controller sees to are set.

        Raises `OSError`.
        """
        self._count += 1
        path = self._directory / f"app-{os.getpid()}-{self._count}"
        path.mkdir()
        try:
            for name, value in self._settings(limits).items():
                (path / name).write_text(str(value))
            request.enter(path, os.open(path / "cgroup.procs", os.O_WRONLY))
        except OSError:
            self.remove(path)
            raise
        return path

    def _settings(self, limits: ResourceLimits) -> Mapping[str, int]:
        """Files of a new cgroup, in the order in which they are written, and what they say."""
        settings: dict[str, int] = {}
        bounds = [n for n in (self._pids_max, limits.tasks) if n is not None]
        if bounds and "pids" in self.controllers:
            settings["pids.max"] = min(bounds)
        if limits.memory_bytes is not None and "memory" in self.controllers:
            settings |= {"memory.max": limits.memory_bytes, "memory.oom.group": 1}
        if limits.cpu_weight is not None and "cpu" in self.controllers:
            settings["cpu.weight"] = limits.cpu_weight
        return settings

    def remove(self, path: Path) -> None:
        """Remove a cgroup, if its shim has not yet; kills what is in there.

        Whose members need a moment to end is removed with the next one.
        """
        self._ended.append(path)
        for ended in self._ended:
            kill_cgroup(str(ended))
            remove_cgroup(str(ended))
        self._ended = [ended for ended in self._ended if ended.exists()]


@contextlib.contextmanager
def open_cgroups(directory: Path, *, max_processes: int | None) -> Iterator[Cgroups]:
    """Take possession of a directory; blocks while leftovers of a killed agent are ended.

    max_processes: pids.max of each child, where the controller is to be had.

    Raises `StartError` when it is none of cgroup v2, not delegated, or taken.
    """
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise _refuse(directory, exc.strerror) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (directory / "cgroup.procs").exists():
            raise _refuse(directory, "expected a directory of cgroup v2")
        _clear(directory)
        if _own_cgroup() == directory.resolve():
            (directory / "agent").mkdir(exist_ok=True)
            (directory / "agent" / "cgroup.procs").write_text("0")
        controllers = _enable_controllers(directory)
        yield Cgroups(directory, max_processes if "pids" in controllers else None, controllers)
    except BlockingIOError:
        raise _refuse(directory, "another agent uses it") from None
    except OSError as exc:
        raise _refuse(directory, exc.strerror) from exc
    finally:
        os.close(lock)


def find_delegated_cgroup() -> Path | None:
    """The cgroup of this process, if systemd has delegated it to us (`Delegate=yes`)."""
    directory = _own_cgroup() if hasattr(os, "getxattr") else None  # not on macOS
    for name in ("user.delegate", "trusted.delegate"):  # systemd, CGROUP_DELEGATION
        with contextlib.suppress(OSError):
            if directory and os.getxattr(directory, name) == b"1":
                return directory
    return None


def _refuse(directory: Path, reason: str | None) -> StartError:
    return StartError(f"cannot use cgroup {directory}: {reason}")


def _own_cgroup(proc: Path = Path("/proc")) -> Path | None:
    """Where the cgroup v2 of this process is, if there is one."""
    try:
        mounts = [line.split() for line in (proc / "mounts").read_text().splitlines()]
        own = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:  # not on Linux
        return None
    roots = [Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"]
    for line in own:
        if roots and line.startswith("0::"):
            return roots[0] / line.removeprefix("0::").lstrip("/")
    return None


def _enable_controllers(directory: Path) -> frozenset[str]:
    """Return of what each cgroup in there can have a limit; tries to arrange it."""
    for name in CONTROLLERS:
        with contextlib.suppress(OSError):  # One by one: those that are not delegated fail.
            (directory / "cgroup.subtree_control").write_text(f"+{name}")
    enabled = (directory / "cgroup.subtree_control").read_text().split()
    return frozenset(enabled) & frozenset(CONTROLLERS)


def _clear(directory: Path) -> None:
    """End what a killed agent has left."""
    stale = [path for path in directory.glob("app-*") if path.is_dir()]
    for path in stale:
        kill_cgroup(str(path))
    end = time.monotonic() + _CLEAR_TIMEOUT
    for path in stale:
        with contextlib.suppress(OSError):  # its shim lives yet, and has removed it just now
            _wait_empty(path, end)
        remove_cgroup(str(path))  # not what is uninterruptible: the next agent tries again


def _wait_empty(path: Path, end: float) -> None:
    changes = select.poll()
    with (path / "cgroup.events").open("rb") as events:
        changes.register(events, select.POLLPRI)
        while b"populated 1" in events.read() and (left := end - time.monotonic()) > 0:
            changes.poll(min(left, _KILL_INTERVAL) * 1000)
            kill_cgroup(str(path))
            events.seek(0)
