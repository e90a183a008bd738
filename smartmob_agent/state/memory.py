"""A store that lasts as long as its agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager

import trio

from smartmob_agent.state.history import History, Row
from smartmob_agent.state.seam import Key, StateChange, StateSnapshot, Value
from smartmob_agent.state.writes import PendingWrite

__all__ = ["MemoryStore"]


class MemoryStore:
    """A `StateStore` of a dictionary.

    A write that is cancelled is not kept.
    """

    def __init__(self, *, revision: int = 0, rows: Iterable[Row] = ()) -> None:
        self.history = History(revision)
        self._rows = {row.key: row for row in rows}

    def reopened(self) -> MemoryStore:
        """Return a store with the same documents, as if it had been kept and read again."""
        return MemoryStore(revision=self.history.revision, rows=self._rows.values())

    def close(self) -> None:
        """End all watching."""
        self.history.close()

    async def read_all(self) -> StateSnapshot:
        await trio.lowlevel.checkpoint()
        rows = sorted(self._rows.values(), key=lambda row: row.created)
        documents = tuple(row.document() for row in rows)
        return StateSnapshot(revision=self.history.revision, documents=documents)

    async def compare_and_set(self, key: Key, value: Value | None, *, expected: int) -> int:
        write = PendingWrite(key, value, expected=expected)
        await trio.lowlevel.checkpoint()
        change = write.made(self._rows.get(key), revision=self.history.revision + 1)
        if change.row is None:
            del self._rows[key]
        else:
            self._rows[key] = change.row
        self.history.add(change)
        return change.revision

    def watch(self, *, after: int) -> AbstractAsyncContextManager[AsyncIterator[StateChange]]:
        return self.history.watch(after=after)
