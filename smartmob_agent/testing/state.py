"""A store of documents without a disk, with the troubles of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import trio

from smartmob_agent.state.memory import MemoryStore
from smartmob_agent.state.seam import (
    Key,
    StateChange,
    StateFailedError,
    StateFullError,
    StateSnapshot,
    Value,
)

__all__ = ["FakeStore"]


class FakeStore:
    """Keeps documents in memory, and fails as it is told.

    A write can be cancelled before it is kept and after, as with a real disk.

    errors: raised by the next calls of `compare_and_set`, one each, and nothing is changed.
    full: whether writes raise `StateFullError`.
    failure: when not empty, everything raises `StateFailedError` with this text.
    writes: the keys of all changes that were kept, in order.
    """

    def __init__(self) -> None:
        self._use(MemoryStore())
        self.errors: list[Exception] = []
        self.writes: list[Key] = []

    def _use(self, kept: MemoryStore) -> None:
        self._kept = kept
        self.full = False
        self.failure = ""
        self._hanging: trio.Event | None = None

    def hang(self) -> None:
        """Let everything that is asked for wait, as for a disk that does not answer."""
        if self._hanging is None:
            self._hanging = trio.Event()

    def go_on(self) -> None:
        """End the effect of `hang`."""
        if self._hanging is not None:
            self._hanging.set()
            self._hanging = None

    def forget(self) -> None:
        """Forget all changes: whoever watches from an earlier revision must read everything."""
        self._kept.history.compact(self._kept.history.revision)

    def restart(self) -> None:
        """Be closed and opened again: what was kept is there, watchers are not, faults are over."""
        self.go_on()
        kept = self._kept
        self._use(kept.reopened())
        kept.close()

    def close(self) -> None:
        """End all watching."""
        self._kept.close()

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._hanging is not None:
            await self._hanging.wait()
        if self.failure:
            raise StateFailedError(self.failure)

    async def read_all(self) -> StateSnapshot:
        await self._answer()
        return await self._kept.read_all()

    async def compare_and_set(self, key: Key, value: Value | None, *, expected: int) -> int:
        await self._answer()
        if self.errors:
            raise self.errors.pop(0)
        if self.full:
            raise StateFullError("the disk does not take the change: nothing was changed")
        revision = await self._kept.compare_and_set(key, value, expected=expected)
        self.writes.append(key)
        # The change is kept, and its writer may not get to know.
        await trio.lowlevel.checkpoint()
        return revision

    def watch(self, *, after: int) -> AbstractAsyncContextManager[AsyncIterator[StateChange]]:
        return self._kept.watch(after=after)
