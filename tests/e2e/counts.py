"""What an agent that has nothing to do still has, as itself and the kernel count."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from smartmob_agent.child.guard.kernel import children, look
from tests.e2e.agent import LIMIT, RunningAgent, running_agent

__all__ = ["Counts", "Traces", "counted_agent", "memory"]

COUNTING = Path(__file__).parent / "counting"
BOUNDED = {
    # What the ring of events holds: so many bytes.
    "smartmob_agent.process.events.TransitionEvent",
    "smartmob_agent.process.lifecycle.Transition",
    "smartmob_agent.process.spec.ProcessSpec",
    "smartmob_agent.child.seam.ResourceLimits",
    "smartmob_agent.process.policies.Readiness",
    "smartmob_agent.process.policies.StopPolicy",
    "smartmob_agent.child.seam.Exit",
    # One for each kind of answer that there has been.
    "smartmob_agent.histogram.Histogram",
}
"""Classes of which there may be more than before, because something else bounds them."""


@attrs.define(eq=False)
class Counts:
    """How many tasks and threads the agent had when it last had nothing to do.

    See `counting/sitecustomize.py`.
    """

    _fd: int
    _objects_fd: int
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

    async def objects(self, pid: int) -> Counter[str]:
        """Ask the agent which objects of its own classes live, when nothing refers to garbage.

        Those that are `BOUNDED` are left out.
        """
        os.kill(pid, signal.SIGUSR2)
        data = b""
        with trio.fail_after(LIMIT):
            async with trio.lowlevel.FdStream(os.dup(self._objects_fd)) as stream:
                while not data.endswith(b"\n"):
                    data += await stream.receive_some()
        found = Counter(json.loads(data))
        return Counter({name: found[name] for name in found if name not in BOUNDED})

    def _is_idle(self, tasks: int | None) -> bool:
        assert self._latest is not None
        left, threads = self._latest
        return not threads and tasks in (None, left)


@asynccontextmanager
async def counted_agent(place: Path) -> AsyncIterator[tuple[RunningAgent, Counts]]:
    """The command, which tells on a pipe what it still has.

    place: where it has its pipe and its temporary files.
    """
    pipes, temporary = [place / "counts", place / "objects"], place / "tmp"
    temporary.mkdir()
    for pipe in pipes:
        os.mkfifo(pipe)
    # Open for writing, too: so they have no end before the agent has begun.
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
    fd, objects_fd = (os.open(pipe, flags) for pipe in pipes)
    counts = Counts(fd, objects_fd)
    env = {
        "PYTHONPATH": os.fspath(COUNTING),
        "SMARTMOB_TEST_COUNTS": ":".join(map(os.fspath, pipes)),
        "TMPDIR": os.fspath(temporary),
    }
    agent_runs = running_agent("--max-start-rate=0", env=env, limit=5 * LIMIT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(counts.read)  # Until the agent has ended: it must not write to nobody.
        async with agent_runs as agent:
            yield agent, counts
        nursery.cancel_scope.cancel()
    os.close(objects_fd)


@attrs.frozen
class Traces:
    """What the kernel and the disk have of an agent that has nothing to do, and of its guard."""

    descriptors: Counter[str]
    files: list[str]

    @classmethod
    async def of(cls, pid: int, place: Path) -> Traces:
        """Look at them when no child is left, not even as a zombie.

        pid: of the agent.

        Raises `AssertionError` with the processes that there are if it does not come to that.
        """
        with trio.move_on_after(LIMIT):
            while True:  # It is about to rest, and tells nobody when it does.
                await trio.lowlevel.checkpoint()
                if rests(pid):
                    break
            [guard] = children(pid)
            return cls(
                descriptors=Counter(descriptors_of(pid, guard)),
                files=files_of(place),
            )
        left = {one: state_of(one) for one in descendants(pid)}
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
    """Bytes that are resident, of the agent and of all processes below it.

    Shared pages count for each of them.  Whoever compares two of these sees what grows without
    end, and not one process that stays: that is seen by `Counts.objects`.
    """
    pid = agent.process.pid
    return sum(
        int(line.split()[1]) * 1024
        for one in (pid, *descendants(pid))
        for line in Path(f"/proc/{one}/status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmRSS")
    )
