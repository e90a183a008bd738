"""Fakes for tests on a virtual clock, held to the same contract tests as the real things.

::

    spawner = FakeSpawner()
    fakes = {"spawner": spawner, "fetcher": FakeFetcher(), "workspaces": FakeWorkspaces()}
    agent = await nursery.start(partial(serve, config, **fakes))
    child = await spawner.next_child()
    child.exit(1)
"""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Collection, Iterable
from pathlib import Path

import trio
import trio.testing

from smartmob_agent.child.spawn import Command, Exit
from smartmob_agent.errors import SpawnError
from smartmob_agent.source.workspace import Unpacked

__all__ = ["FakeChild", "FakeFetcher", "FakeSpawner", "FakeWorkspace", "FakeWorkspaces"]

_SETTLE_TIMEOUT = 10.0
"""Seconds, as `Child.wait_settled` says."""


class FakeChild:
    """A child that does what a test tells it.

    command: what it was started with.
    obeys: whether it ends at once by SIGTERM when asked to; else the test calls `exit`.
    lingers: whether something of its process group outlives it after `terminate`.
    closes_pipes: whether its output ends with its tree; else a stranger holds the pipes.
    unkillable: whether SIGKILL has no effect, as in uninterruptible sleep, until `let_go`.
    terminated, killed: set when somebody asked for it.
    """

    def __init__(self, pid: int, command: Command, *, obeys: bool = True) -> None:
        self.pid = pid
        self.command = command
        self.stdout = trio.testing.MemoryReceiveStream()
        self.stderr = trio.testing.MemoryReceiveStream()
        self.obeys = obeys
        self.lingers = False
        self.closes_pipes = True
        self.unkillable = False
        self.stuck: tuple[int, ...] = ()
        self.terminated = trio.Event()
        self.killed = trio.Event()
        self._exit: Exit | None = None
        self._exited = trio.Event()
        self._empty = trio.Event()

    def write(self, data: bytes) -> None:
        """Write to the standard output."""
        self.stdout.put_data(data)

    def write_error(self, data: bytes) -> None:
        """Write to the standard error."""
        self.stderr.put_data(data)

    def exit(self, code: int = 0) -> None:
        """End by itself; no effect if it has ended."""
        self._end(Exit(code=code))

    def die(self, by: signal.Signals) -> None:
        """End by a signal; no effect if it has ended."""
        self._end(Exit(signal=by))

    async def wait(self) -> Exit:
        await self._exited.wait()
        assert self._exit is not None  # noqa: S101  # Set together with the event.
        return self._exit

    async def wait_empty(self) -> None:
        await self._empty.wait()

    async def wait_settled(self) -> None:
        with trio.move_on_after(_SETTLE_TIMEOUT):
            await self._empty.wait()
        if not self._empty.is_set():
            self.stuck = (self.pid,)

    def terminate(self) -> None:
        self.terminated.set()
        if self.obeys:
            self.die(signal.SIGTERM)

    def kill(self) -> None:
        self.killed.set()
        if not self.unkillable:
            self.let_go()

    def let_go(self) -> None:
        """The kernel lets go of a child that was unkillable."""
        self.stuck = ()
        self.die(signal.SIGKILL)
        self._vanish()

    def _end(self, how: Exit) -> None:
        if self._exit is not None:
            return
        self._exit = how
        self._exited.set()
        if not (self.lingers and self.terminated.is_set()):
            self._vanish()

    def _vanish(self) -> None:
        """Nothing of the tree is left, and of the pipes only what a stranger holds."""
        self._empty.set()
        if self.closes_pipes:
            self.stdout.put_eof()
            self.stderr.put_eof()


class FakeSpawner:
    """Starts fake children.

    errors: raised by the next spawns, one each, before any child is started.
    delay: seconds that a spawn takes.
    obey: whether new children end at once by SIGTERM.
    missing: programs that are not there.
    children: all that were started, in order.
    """

    def __init__(
        self,
        *,
        errors: Iterable[Exception] = (),
        delay: float = 0.0,
        obey: bool = True,
        missing: Collection[str] = (),
    ) -> None:
        self.errors = list(errors)
        self.delay = delay
        self.obey = obey
        self.missing = missing
        self.children: list[FakeChild] = []
        self._pids = itertools.count(1000)
        self._send, self._receive = trio.open_memory_channel[FakeChild](math.inf)

    @property
    def containment(self) -> str:
        return "tree"

    async def spawn(self, command: Command) -> FakeChild:
        await trio.sleep(self.delay)
        if self.errors:
            raise self.errors.pop(0)
        program = command.argv[0]
        if program in self.missing:
            raise SpawnError(f"cannot start {program!r}: No such file or directory")
        child = FakeChild(next(self._pids), command, obeys=self.obey)
        self.children.append(child)
        self._send.send_nowait(child)
        return child

    async def next_child(self) -> FakeChild:
        """Wait for the next child that was not returned before."""
        return await self._receive.receive()


class FakeFetcher:
    """Downloads nothing.

    errors: raised by the next downloads, one each.
    delay: seconds that a download takes, also one that fails.
    requests: (URL, request id) of each download that was begun.
    """

    def __init__(self, *, errors: Iterable[Exception] = (), delay: float = 0.0) -> None:
        self.errors = list(errors)
        self.delay = delay
        self.requests: list[tuple[str, str]] = []

    async def fetch(self, url: str, destination: Path, *, request_id: str) -> None:  # noqa: ARG002  # nothing to write
        self.requests.append((url, request_id))
        await trio.sleep(self.delay)
        if self.errors:
            raise self.errors.pop(0)


class FakeWorkspace:
    """The files of one process, which are none.

    removed: set when they were removed.
    """

    def __init__(self, factory: FakeWorkspaces, slug: str) -> None:
        self._factory = factory
        self.archive = Path("/nonexistent") / slug / "archive"
        self.removed = trio.Event()

    async def unpack(self) -> Unpacked:
        await trio.sleep(self._factory.delay)
        if self._factory.errors:
            raise self._factory.errors.pop(0)
        return Unpacked(root=self.archive.parent / "app", procfile=self._factory.procfile)

    async def remove(self) -> None:
        await trio.sleep(self._factory.remove_delay)
        self.removed.set()


class FakeWorkspaces:
    """Makes workspaces in which every archive unpacks to an app with the same Procfile.

    procfile: its bytes; None for an app without one.
    errors: raised by the next unpackings, one each.
    delay, remove_delay: seconds that unpacking and removing take.
    opened: all workspaces, in order.
    """

    def __init__(
        self,
        *,
        procfile: bytes | None = b"web: serve\n",
        errors: Iterable[Exception] = (),
        delay: float = 0.0,
        remove_delay: float = 0.0,
    ) -> None:
        self.procfile = procfile
        self.errors = list(errors)
        self.delay = delay
        self.remove_delay = remove_delay
        self.opened: list[FakeWorkspace] = []

    def open(self, slug: str) -> FakeWorkspace:
        workspace = FakeWorkspace(self, slug)
        self.opened.append(workspace)
        return workspace
