"""The real spawner: every child below a guard that sees to its end.

::

    agent ── zygote (guard/zygote.py) ─┬─ shim (guard/shim.py) ── child ── its descendants
                                       └─ shim ── …

The agent holds a lifeline to each shim.  When it closes, for whatever reason, the shim kills
all that is below it.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import trio

from smartmob_agent.child.cgroup import Cgroups, open_cgroups
from smartmob_agent.child.guard.schedule import wake_quickly
from smartmob_agent.child.handle import GuardedChild, ShimHandle
from smartmob_agent.child.limit_watch import LimitWatch
from smartmob_agent.child.limits import (
    Limits,
    check_user_processes,
    limits_of_child,
    limits_of_request,
)
from smartmob_agent.child.orphans import reap_orphans
from smartmob_agent.child.pipes import ChildPipes
from smartmob_agent.child.request import SpawnRequest
from smartmob_agent.child.seam import Command
from smartmob_agent.child.tree_watch import TreeWatch
from smartmob_agent.child.zygote_client import ZygoteClient
from smartmob_agent.errors import SpawnError, StartError

__all__ = ["GuardedSpawner", "Isolation", "open_spawner"]

Isolation = Literal["pid"]

_NOTHING = Command(argv=("/bin/sh", "-c", ":"), env={}, cwd=Path("/"))

_FILES_HINT = " (ulimit -Hn, LimitNOFILE= of systemd)"

_START_TIMEOUT = 10.0
"""Seconds that the guard has to start a child, or itself; it takes 2 and 20 ms."""

_END_TIMEOUT = 5.0
"""Seconds that a guard without children has to end; it takes 5 ms."""


class GuardedSpawner:
    """The real `Spawner`; `open_spawner()` makes it."""

    def __init__(
        self,
        *,
        max_processes: int | None,
        max_user_processes: int | None,
        open_files: int | None,
        isolation: Isolation | None,
        cgroup: Path | None,
    ) -> None:
        self._max_processes = max_processes
        self._max_user_processes = max_user_processes
        self._open_files = open_files
        self._isolation = isolation
        self._cgroup = cgroup
        self._cgroups: Cgroups | None = None
        self._limits: Limits = {}
        self._watch = TreeWatch(most=None, user_most=None, trees=dict)
        self._limit_watch = LimitWatch(trees=dict)
        self._zygote = ZygoteClient(isolation=self._isolation)
        self._children: set[GuardedChild] = set()
        self._closing = trio.Event()
        self._settled = trio.Event()
        self._failure: StartError | None = None
        self._nursery: trio.Nursery

    @property
    def containment(self) -> str:
        """See `Spawner.containment`."""
        if self._isolation == "pid":
            return "pid-namespace"
        return "cgroup" if self._cgroups else self._zygote.level

    @property
    def unlimited(self) -> frozenset[str]:
        """See `Spawner.unlimited`."""
        has_weight = self._cgroups is not None and "cpu" in self._cgroups.controllers
        return frozenset() if has_weight else frozenset({"cpu_weight"})

    async def run(self) -> None:
        """Serve until `close()`, then end all trees and the guard.

        Not to be cancelled, since it has to outlive whoever is cancelled beside it.
        """
        with trio.CancelScope(shield=True), contextlib.ExitStack() as stack:
            stack.callback(self.close)  # if this fails, too
            # Until `close()`; what comes before and after is bounded, see `_start`, `_end`.
            async with trio.open_nursery() as self._nursery:
                try:
                    await self._start(stack)
                except StartError as exc:
                    self._failure = exc
                    self._closing.set()
                self._settled.set()
                await self._closing.wait()
                await self._end()
                self._nursery.cancel_scope.cancel()

    async def wait_started(self) -> StartError | None:
        """Wait until it serves, or return why the guard cannot be started, or not as it should."""
        await self._settled.wait()
        return self._failure

    async def _start(self, stack: contextlib.ExitStack) -> None:
        """Start the guard and prove the level of containment: 25 s at most."""
        if self._cgroup is not None:
            cgroups = open_cgroups(self._cgroup, max_processes=self._max_processes)
            self._cgroups = await trio.to_thread.run_sync(stack.enter_context, cgroups)
        self._set_limits()
        names = {"pids": "tasks", "memory": "memory_bytes"}
        controllers = self._cgroups.controllers if self._cgroups else frozenset()
        counted = {name for controller, name in names.items() if controller in controllers}
        self._limit_watch = LimitWatch(trees=self._trees, counted=counted)
        wake_quickly()
        self._nursery.start_soon(self._zygote.run, name="guard")
        if os.getpid() == 1:
            self._nursery.start_soon(reap_orphans, lambda: {self._zygote.pid})
        with trio.move_on_after(_START_TIMEOUT):
            await self._zygote.settled.wait()
        if not self._zygote.level:
            raise self._zygote.error or StartError("the guard does not answer")
        if self._isolation or self._cgroups:
            try:
                child = await self.spawn(_NOTHING)
            except SpawnError as exc:
                raise StartError(f"no {self.containment} containment: {exc}") from exc
            await child.wait_settled()
            child.close_pipes()

    def _set_limits(self) -> None:
        """Let cgroups count processes where they can, else a watch."""
        if self._cgroups and self._cgroups.limits_processes:
            self._limits = limits_of_child(user_processes=None, open_files=self._open_files)
            return
        for bound in (self._max_processes, self._max_user_processes):
            if bound is not None:
                check_user_processes(bound)
        user_most = self._max_user_processes
        self._limits = limits_of_child(user_processes=user_most, open_files=self._open_files)
        self._watch = TreeWatch(most=self._max_processes, user_most=user_most, trees=self._trees)
        self._nursery.start_soon(self._watch.run, name="watch")

    def _trees(self) -> Mapping[int, GuardedChild]:
        return {child.shim_pid: child for child in self._children if child.shim_pid}

    def _explain(self, cgroup: Path | None) -> str:
        if self._cgroups and cgroup and (hint := self._cgroups.hint(cgroup)):
            return hint
        return self._watch.hint

    def close(self) -> None:
        """Refuse new children and let `run()` end."""
        self._closing.set()

    async def spawn(self, command: Command) -> GuardedChild:
        """See `Spawner.spawn`."""
        child = await self._try(command)
        if child is None:  # the guard was killed just now, perhaps: there is another one
            child = await self._try(command)
        if child is None:  # pragma: no cover  -- two guards killed in one moment
            raise SpawnError(f"cannot start {command.argv[0]!r}: the guard was killed")
        return child

    async def _try(self, command: Command) -> GuardedChild | None:
        """Start a child; None if the guard died before it could tell."""
        if self._closing.is_set():
            raise SpawnError(f"cannot start {command.argv[0]!r}: the agent is stopping")
        child = None
        try:
            with trio.fail_after(_START_TIMEOUT):
                child = await self._hand_over(command)
                started = await child.wait_started()
                self._limit_watch.start(self._nursery)
                return started
        except OSError as exc:
            hint = _FILES_HINT if exc.errno == errno.EMFILE else ""
            raise SpawnError(f"cannot start {command.argv[0]!r}: {exc.strerror}{hint}") from exc
        except trio.BrokenResourceError:  # pragma: no cover  -- killed while we hand over
            return None
        except trio.TooSlowError as exc:
            if child is None:  # the zygote takes nothing any more; else see `GuardedChild`
                self._zygote.abandon()
            raise SpawnError(
                f"cannot start {command.argv[0]!r}: no answer in {_START_TIMEOUT:.0f} s"
            ) from exc

    async def _hand_over(self, command: Command) -> GuardedChild:
        """Send the request for a child, and listen to its shim from then on."""
        zygote = await self._living_zygote()
        with contextlib.ExitStack() as undo:
            ends = ChildPipes()
            undo.callback(ends.close)
            request = SpawnRequest.spawn(
                command,
                ends.theirs,
                limits={**self._limits, **limits_of_request(command.limits)},
                isolation=self._isolation,
            )
            undo.callback(request.close)
            path = self._cgroups.enter(request, command.limits) if self._cgroups else None
            undo.callback(self._remove_cgroup, path)
            ident, gone = await zygote.spawn(request)
            undo.pop_all()
        shim = ShimHandle(zygote=zygote, ident=ident, gone=gone)
        child = GuardedChild(command, ends, shim, explain=partial(self._explain, path))
        self._children.add(child)
        self._nursery.start_soon(self._host, child, path, name=f"child {command.argv[0]}")
        if self._closing.is_set():  # pragma: no cover  -- closed while we hand over
            child.kill()
        return child

    def _remove_cgroup(self, path: Path | None) -> None:
        if self._cgroups is not None and path is not None:
            self._cgroups.remove(path)

    async def _living_zygote(self) -> ZygoteClient:
        if self._zygote.ended.is_set() or self._zygote.is_abandoned:
            self._zygote = ZygoteClient(isolation=self._isolation)
            self._nursery.start_soon(self._zygote.run, name="guard")
        zygote = self._zygote
        await zygote.settled.wait()
        if zygote.error is not None:
            raise SpawnError(str(zygote.error))
        return zygote

    async def _host(self, child: GuardedChild, cgroup: Path | None) -> None:
        try:
            await child.run()
        finally:
            self._children.remove(child)
            self._remove_cgroup(cgroup)

    async def _end(self) -> None:
        """Kill all trees and end the guard: 25 s at most, then what is left is stuck."""
        for child in self._children:
            child.kill()
        for child in tuple(self._children):
            await child.wait_settled()
        self._zygote.close()
        if not self._zygote.has_begun:
            return
        with trio.move_on_after(_END_TIMEOUT):
            await self._zygote.ended.wait()
        if not any(child.stuck for child in self._children):  # else the guard stays, too
            self._zygote.abandon()  # no effect if it has ended
            with trio.move_on_after(_END_TIMEOUT):
                await self._zygote.ended.wait()


@asynccontextmanager
async def open_spawner(
    *,
    max_processes: int | None = None,
    max_user_processes: int | None = None,
    open_files: int | None = None,
    isolation: Isolation | None = None,
    cgroup: Path | None = None,
) -> AsyncIterator[GuardedSpawner]:
    """A spawner whose children do not outlive the block, nor this program.

    max_processes: most processes and threads of a tree: the kernel refuses more (pids.max) where
        the controller is delegated; else a tree that has more is killed when it is found, by a
        look each second if much is new, and each half minute.  None for no limit.
    max_user_processes: where no cgroup counts: of the whole user when a child starts another
        (RLIMIT_NPROC, which does not bind root); None for the one of this process.
    open_files: soft limit of a child's descriptors; None for the one of this process.
    isolation: `pid` gives each child a PID namespace; who is not root needs a user
        namespace besides.
    cgroup: a delegated directory of cgroup v2, where each child gets a cgroup of its own;
        see `find_delegated_cgroup()`.

    Leaving the block kills all trees and waits until nothing is left; what is in
    uninterruptible sleep after 10 s is left to its guard.

    Raises `StartError` when the guard cannot be started, or not at the level that was asked
    for: there is no silent downgrade.

    As process 1 of a container it collects foreign orphans too.  Then there is to be one
    spawner, in the main thread, and no child of the program but by it.

    A copy of this process by a bare `fork()` holds the trees alive: start programs instead.
    """
    spawner = GuardedSpawner(
        max_processes=max_processes,
        max_user_processes=max_user_processes,
        open_files=open_files,
        isolation=isolation,
        cgroup=cgroup,
    )
    failure: StartError | None = None
    async with trio.open_nursery() as nursery:
        # Not by `start()`, where it would be left if it is cancelled just then: it is shielded.
        nursery.start_soon(spawner.run)
        try:
            failure = await spawner.wait_started()
            if failure is None:
                yield spawner
        finally:
            spawner.close()
    if failure is not None:  # free of the nursery's group
        raise failure
