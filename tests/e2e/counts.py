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
        async for data in trio.lowlevel.FdStream(self._fd):
            self._latest = struct.unpack("<II", data[-8:])
            self._changed.unpark_all()

    def forget(self) -> None:
        """Know nothing until it tells again."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 65536):
                pass
        self._latest = None

    async def wait(self, tasks: int | None = None) -> int:
        """Wait until no thread and so many tasks are left, or any number; return it."""
        while True:
            if self._latest is not None:
                left, threads = self._latest
                if not threads and tasks in (None, left):
                    return left
            await self._changed.park()


@asynccontextmanager
async def counted_agent(place: Path) -> AsyncIterator[tuple[RunningAgent, Counts]]:
    """The command, which tells on a pipe what it still has.

    place: where it has its pipe and its temporary files.
    """
    pipe, temporary = place / "counts", place / "tmp"
    temporary.mkdir()
    os.mkfifo(pipe)
    counts = Counts(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
    env = {
        "PYTHONPATH": os.fspath(COUNTING),
        "SMARTMOB_TEST_COUNTS": os.fspath(pipe),
        "TMPDIR": os.fspath(temporary),
    }
    agent_runs = running_agent("--max-start-rate=0", env=env, limit=5 * LIMIT)
    async with agent_runs as agent, trio.open_nursery() as nursery:
        nursery.start_soon(counts.read)
        yield agent, counts
        nursery.cancel_scope.cancel()


@attrs.frozen
class Traces:
    """What the kernel and the disk have of an agent and its guard."""

    descriptors: Counter[str]
    below: int
    files: list[str]

    @classmethod
    def of(cls, agent: RunningAgent, place: Path) -> Traces:
        """Look at them; there is no zombie."""
        below = list(descendants(agent.process.pid))
        dead = [pid for pid in below if (found := look(pid)) and found.state == "Z"]
        assert dead == []
        return cls(
            descriptors=Counter(descriptors_of(agent.process.pid, *below)),
            below=len(below),
            files=sorted(map(str, place.rglob("*"))),
        )


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
