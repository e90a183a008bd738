"""What an agent that has nothing to do still has, as itself and the kernel count."""

from __future__ import annotations

import contextlib
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from smartmob_agent.child.kernel import children, look
from tests.e2e.agent import LIMIT, RunningAgent, running_agent

__all__ = ["Counts", "Traces", "counted_agent", "memory"]

COUNTING = Path(__file__).parent / "counting"


@attrs.define(eq=False)
class Counts:
    """How many tasks and threads the agent had when it last had nothing to do.

    See `counting/sitecustomize.py`.
    """

    _fd: int
    _latest: tuple[int, int] | None = None
    _changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def read(self) -> None:
        async with trio.lowlevel.FdStream(self._fd) as stream:
            async for data in stream:
                self._latest = struct.unpack("<II", data[-8:])
                self._changed.unpark_all()

    def forget(self) -> None:
        """Know nothing until it tells again."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 65536):
                pass
        self._latest = None

    async def wait(self, tasks: int | None = None) -> int:
        """Wait until no thread and so many tasks are left, or any number; return it.

        Raises `AssertionError` with what is left if it does not come to that.
        """
        with trio.move_on_after(LIMIT):
            await trio.lowlevel.checkpoint()
            while self._latest is None or not self._is_idle(tasks):
                await self._changed.park()
            return self._latest[0]
        raise AssertionError(f"expected {tasks} tasks and 0 threads, found {self._latest}")

    def _is_idle(self, tasks: int | None) -> bool:
        assert self._latest is not None
        left, threads = self._latest
        return not threads and tasks in (None, left)


@asynccontextmanager
async def counted_agent(place: Path) -> AsyncIterator[tuple[RunningAgent, Counts]]:
    """The command, which tells on a pipe what it still has.

    place: where it has its pipe and its temporary files.
    """
    pipe, temporary = place / "counts", place / "tmp"
    temporary.mkdir()
    os.mkfifo(pipe)
    # Open for writing, too: so it has no end before the agent has begun.
    counts = Counts(os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    env = {
        "PYTHONPATH": os.fspath(COUNTING),
        "SMARTMOB_TEST_COUNTS": os.fspath(pipe),
        "TMPDIR": os.fspath(temporary),
    }
    agent_runs = running_agent("--max-start-rate=0", env=env, limit=5 * LIMIT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counts.read)  # Until the agent has ended: it must not write to nobody.
        async with agent_runs as agent:
            yield agent, counts
        nursery.cancel_scope.cancel()


@attrs.frozen
class Traces:
    """What the kernel and the disk have of an agent that has nothing to do, and of its guard."""

    descriptors: Counter[str]
    files: list[str]

    @classmethod
    async def of(cls, agent: RunningAgent, place: Path) -> Traces:
        """Look at them when no child is left, not even as a zombie.

        Raises `AssertionError` with the processes that there are if it does not come to that.
        """
        with trio.move_on_after(LIMIT):
            while True:  # It is about to rest, and tells nobody when it does.
                await trio.lowlevel.checkpoint()
                if rests(agent.process.pid):
                    break
            [guard] = children(agent.process.pid)
            return cls(
                descriptors=Counter(descriptors_of(agent.process.pid, guard)),
                files=files_of(place),
            )
        left = {pid: state_of(pid) for pid in descendants(agent.process.pid)}
        raise AssertionError(f"expected a guard with its store, found {left}")


def files_of(place: Path) -> list[str]:
    return sorted(map(str, place.rglob("*")))


def rests(pid: int) -> bool:
    """Whether an agent has its guard alone, with one shim and one process in store for the next."""
    sleeping = []
    for _ in ("guard", "shim", "process"):
        below = children(pid)
        if len(below) != 1:
            return False
        [pid] = below
        sleeping.append(pid)
    return all(state_of(one) == "S" for one in sleeping)


def state_of(pid: int) -> str:
    found = look(pid)
    return found.state if found else "gone"


def descendants(pid: int) -> Iterator[int]:
    for child in children(pid):
        yield child
        yield from descendants(child)


def descriptors_of(*pids: int) -> Iterator[str]:
    """What is open: files by name, the rest by its kind."""
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            yield str(descriptor.readlink()).partition(":")[0]


def memory(agent: RunningAgent) -> int:
    """Bytes of it and its guard that are resident."""
    pid = agent.process.pid
    return sum(
        int(line.split()[1]) * 1024
        for one in (pid, *descendants(pid))
        for line in Path(f"/proc/{one}/status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmRSS")
    )
