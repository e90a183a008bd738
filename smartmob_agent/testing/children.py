"""Children that do what a test tells them, and the spawner that starts them."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
from collections.abc import Collection, Iterable
from functools import partial

import trio
import trio.testing

from smartmob_agent.child.seam import Command, Exit
from smartmob_agent.errors import ExecError

__all__ = ["FakeChild", "FakeSpawner"]

_SETTLE_TIMEOUT = 10.0
"""Seconds, as `Child.wait_settled` says."""


class FakeChild:
    """A child that does what a test tells it.

    command: what it was started with.
    obeys: whether it ends at once when asked to, by that signal; else the test calls `exit`.
    lingers: whether a process of its group outlives it after `terminate`.
    closes_pipes: whether its output ends with its tree; else another process has the pipes.
    unkillable: whether SIGKILL has no effect, as in uninterruptible sleep, until `let_go`.
    terminated, killed: set by `terminate` and `kill`.
    asked_by: the signal of `terminate`; None before.
    is_asked_alone: whether that went to the app alone.
    signals: all others that it was sent; SIGKILL ends it.
    """

    def __init__(self, pid: int, command: Command, *, obeys: bool = True) -> None:
        self.pid = pid
        self.command = command
        self._open_pipes: set[trio.testing.MemoryReceiveStream] = set()
        self.stdout = self._make_pipe()
        self.stderr = self._make_pipe()
        self.obeys = obeys
        self.lingers = False
        self.closes_pipes = True
        self.unkillable = False
        self.stuck: tuple[int, ...] = ()
        self.asked_by: signal.Signals | None = None
        self.is_asked_alone = False
        self.terminated = trio.Event()
        self.killed = trio.Event()
        self.signals: list[signal.Signals] = []
        self._exit: Exit | None = None
        self._exited = trio.Event()
        self._empty = trio.Event()

    @property
    def released(self) -> bool:
        """Whether nothing of its tree is left, and the reader of its pipes has closed them."""
        return self._empty.is_set() and not self._open_pipes

    def write(self, data: bytes) -> None:
        """Write to the standard output; no effect once its pipe is closed."""
        with contextlib.suppress(trio.ClosedResourceError):
            self.stdout.put_data(data)

    def write_error(self, data: bytes) -> None:
        """Write to the standard error; no effect once its pipe is closed."""
        with contextlib.suppress(trio.ClosedResourceError):
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

    def terminate(self, number: signal.Signals = signal.SIGTERM, *, app_only: bool = False) -> None:
        self.asked_by, self.is_asked_alone = number, app_only
        self.terminated.set()
        if self.obeys:
            self.die(number)

    def kill(self) -> None:
        self.killed.set()
        if not self.unkillable:
            self.let_go()

    def send_signal(self, number: signal.Signals) -> None:
        if self._exit is None:
            self.signals.append(number)
            if number == signal.SIGKILL:
                self.die(number)

    def let_go(self) -> None:
        """End the uninterruptible sleep of an unkillable child, which dies then."""
        self.stuck = ()
        self.die(signal.SIGKILL)
        self._vanish()

    def _make_pipe(self) -> trio.testing.MemoryReceiveStream:
        pipe = trio.testing.MemoryReceiveStream()
        pipe.close_hook = partial(self._open_pipes.discard, pipe)
        self._open_pipes.add(pipe)
        return pipe

    def _end(self, how: Exit) -> None:
        if self._exit is not None:
            return
        self._exit = how
        self._exited.set()
        if not (self.lingers and self.terminated.is_set() and not self.is_asked_alone):
            self._vanish()

    def _vanish(self) -> None:
        """End the tree, and its pipes unless a stranger has them."""
        self._empty.set()
        if self.closes_pipes:
            self.stdout.put_eof()
            self.stderr.put_eof()


class FakeSpawner:
    """Starts fake children.

    errors: raised by the next calls of `spawn`, one each, instead of starting a child.
    delay: seconds that `spawn` takes.
    obey: whether new children end at once when they are asked to.
    missing: programs that do not exist.
    unlimited: names of limits that nobody sees to.
    children: all that were started, in order.
    """

    def __init__(
        self,
        *,
        errors: Iterable[Exception] = (),
        delay: float = 0.0,
        obey: bool = True,
        missing: Collection[str] = (),
        unlimited: Collection[str] = (),
    ) -> None:
        self.errors = list(errors)
        self.delay = delay
        self.obey = obey
        self.missing = missing
        self.unlimited = frozenset(unlimited)
        self.children: list[FakeChild] = []
        self._pids = itertools.count(1000)
        self._send, self._receive = trio.open_memory_channel[FakeChild](math.inf)

    @property
    def containment(self) -> str:
        return "tree"

    @property
    def living(self) -> list[FakeChild]:
        """The children that are not `released`."""
        return [child for child in self.children if not child.released]

    async def spawn(self, command: Command) -> FakeChild:
        await trio.sleep(self.delay)
        if self.errors:
            raise self.errors.pop(0)
        program = command.argv[0]
        if program in self.missing:
            raise ExecError(f"cannot start {program!r}: No such file or directory")
        child = FakeChild(next(self._pids), command, obeys=self.obey)
        self.children.append(child)
        self._send.send_nowait(child)
        return child

    async def next_child(self) -> FakeChild:
        """Wait for the next child, each of which is returned once."""
        return await self._receive.receive()
