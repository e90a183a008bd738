"""The real spawner: every child below a guard which sees that it ends with the agent.

::

    agent ── zygote (guard.py) ─┬─ shim (shim.py) ── child ── its descendants
                                └─ shim ── …

The agent holds a lifeline to each shim.  When it closes, for whatever reason, the shim kills
all that is below it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from smartmob_agent.child.spawn import Command
from smartmob_agent.child.tree import Ends, GuardedChild, Shim
from smartmob_agent.child.zygote import Request, Zygote
from smartmob_agent.errors import SpawnError, StartError

__all__ = ["GuardedSpawner", "open_spawner"]

_START_TIMEOUT = 10.0
"""Seconds that the guard has to start a child, or itself; it takes 2 and 20 ms."""

_END_TIMEOUT = 2.0
"""Seconds that a guard without children has to end; it takes 5 ms."""


class GuardedSpawner:
    """The real `Spawner`; `open_spawner()` makes it."""

    def __init__(self, *, max_processes: int | None = None) -> None:
        self._limits = {} if max_processes is None else {"RLIMIT_NPROC": max_processes}
        self._zygote = Zygote()
        self._children: set[GuardedChild] = set()
        self._closing = trio.Event()
        self._nursery: trio.Nursery

    @property
    def containment(self) -> str:
        """The level in force: `tree`, or `group` where there is no subreaper."""
        return self._zygote.level

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `close()`, then end all trees and the guard.

        Raises `StartError` when the guard cannot be started.

        Not to be cancelled, since it has to outlive whoever is cancelled beside it.
        """
        with trio.CancelScope(shield=True):  # until `close()`, then bounded as `_end()` is
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._zygote.run, name="guard")
                with trio.move_on_after(_START_TIMEOUT):
                    await self._zygote.settled.wait()
                first = self._zygote
                if first.level:
                    task_status.started()
                    await self._closing.wait()
                    await self._end()
                self._nursery.cancel_scope.cancel()
        if not first.level:
            raise first.error or StartError("the guard does not answer")

    def close(self) -> None:
        """Refuse new children and let `run()` end."""
        self._closing.set()

    async def spawn(self, command: Command) -> GuardedChild:
        """See `Spawner.spawn`."""
        child = await self._try(command)
        if child is None:  # the guard was killed just now, perhaps: there is another one
            child = await self._try(command)
        if child is None:
            raise SpawnError(f"cannot start {command.argv[0]!r}: the guard was killed")
        return child

    async def _try(self, command: Command) -> GuardedChild | None:
        """Start a child; None if the guard died before it could tell."""
        if self._closing.is_set():
            raise SpawnError(f"cannot start {command.argv[0]!r}: the agent is stopping")
        try:
            child = await self._hand_over(command)
        except OSError as exc:
            raise SpawnError(f"cannot start {command.argv[0]!r}: {exc.strerror}") from exc
        except trio.BrokenResourceError:
            return None
        try:
            with trio.fail_after(_START_TIMEOUT):
                return await child.wait_started()
        except trio.TooSlowError as exc:
            raise SpawnError(
                f"cannot start {command.argv[0]!r}: no answer in {_START_TIMEOUT:.0f} s"
            ) from exc

    async def _hand_over(self, command: Command) -> GuardedChild:
        """Send the request for a child, and listen to its shim from then on."""
        zygote = await self._living_zygote()
        message = {
            "argv": command.argv,
            "env": dict(command.env),
            "cwd": str(command.cwd.absolute()),
            "limits": self._limits,
        }
        ends = Ends()
        try:
            ident, gone = await zygote.spawn(Request(message, ends.theirs))
        except BaseException:
            ends.close()
            raise
        child = GuardedChild(command, ends, Shim(zygote=zygote, ident=ident, gone=gone))
        self._children.add(child)
        self._nursery.start_soon(self._host, child, name=f"child {command.argv[0]}")
        if self._closing.is_set():
            child.kill()
        return child

    async def _living_zygote(self) -> Zygote:
        if self._zygote.ended.is_set():
            self._zygote = Zygote()
            self._nursery.start_soon(self._zygote.run, name="guard")
        zygote = self._zygote
        await zygote.settled.wait()
        if zygote.error is not None:
            raise SpawnError(str(zygote.error))
        return zygote

    async def _host(self, child: GuardedChild) -> None:
        try:
            await child.run()
        finally:
            self._children.remove(child)

    async def _end(self) -> None:
        """Kill all trees and end the guard: 12 s at most, in which what is left is stuck."""
        for child in self._children:
            child.kill()
        for child in tuple(self._children):
            await child.wait_settled()
        self._zygote.close()
        with trio.move_on_after(_END_TIMEOUT):
            await self._zygote.ended.wait()


@asynccontextmanager
async def open_spawner(*, max_processes: int | None = None) -> AsyncIterator[GuardedSpawner]:
    """A spawner whose children do not outlive the block, nor this program.

    max_processes: most processes that the user of the agent may have while a child
        starts another (RLIMIT_NPROC, which does not bind root); None for no limit.

    Leaving the block kills all trees and waits until nothing is left; what is in
    uninterruptible sleep after 10 s is left to its guard.

    Raises `StartError` when the guard cannot be started.

    A copy of this process by a bare `fork()` holds the trees alive: start programs instead.
    """
    spawner = GuardedSpawner(max_processes=max_processes)
    failure: StartError | None = None
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(spawner.run)
        except StartError as exc:  # raised below, free of the nursery's group
            failure = exc
        else:
            try:
                yield spawner
            finally:
                spawner.close()
    if failure is not None:
        raise failure
