"""The latest changes of a store, for those who watch."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

import attrs
import trio

from smartmob_agent.state.seam import CompactedError, Key, StateChange, StoredDocument
from smartmob_agent.state.values import decode

__all__ = ["Change", "History", "Row"]

MOST_CHANGES = 1000
MOST_BYTES = 16 * 1024 * 1024


@attrs.frozen(kw_only=True)
class Row:
    """A document with its value as text."""

    key: Key
    text: str
    created: int
    revision: int

    def document(self) -> StoredDocument:
        """Return a copy for somebody who may change its value."""
        return StoredDocument(
            key=self.key,
            value=decode(self.text),
            created=self.created,
            revision=self.revision,
        )


@attrs.frozen(kw_only=True)
class Change:
    """One change.

    row: what the document is now; None for a deletion.
    """

    key: Key
    row: Row | None
    revision: int

    @property
    def size(self) -> int:
        return 0 if self.row is None else len(self.row.text)

    def decoded(self) -> StateChange:
        value = None if self.row is None else decode(self.row.text)
        return StateChange(key=self.key, value=value, revision=self.revision)


class History:
    """A bounded number of changes with consecutive revisions.

    compacted: changes up to this revision are forgotten.
    """

    def __init__(self, revision: int) -> None:
        self.compacted = revision
        self._changes = deque[Change]()
        self._bytes = 0
        self._grown = trio.Event()
        self._closed = False

    @property
    def revision(self) -> int:
        """Of the last change."""
        return self.compacted + len(self._changes)

    def add(self, change: Change) -> None:
        """Add the next change, and forget the oldest ones that are too many."""
        self._changes.append(change)
        self._bytes += change.size
        while len(self._changes) > MOST_CHANGES or self._bytes > MOST_BYTES:
            self._forget_one()
        self._wake()

    def compact(self, revision: int) -> None:
        """Forget the changes up to a revision."""
        while self.compacted < revision:
            self._forget_one()
        self._wake()

    def close(self) -> None:
        """End all iterations, after the changes that are there."""
        self._closed = True
        self._wake()

    def _forget_one(self) -> None:
        self._bytes -= self._changes.popleft().size
        self.compacted += 1

    def _wake(self) -> None:
        self._grown.set()
        self._grown = trio.Event()

    @contextlib.asynccontextmanager
    async def watch(self, *, after: int) -> AsyncGenerator[AsyncIterator[StateChange]]:
        """Do as `StateStore.watch` says."""
        await trio.lowlevel.checkpoint()
        if after > self.revision:
            raise ValueError(f"expected a revision up to {self.revision}, found {after}")
        self._check(after)
        yield _Watch(history=self, after=after)

    def _check(self, after: int) -> None:
        if after < self.compacted:
            raise CompactedError(after=after, compacted=self.compacted)

    async def next_after(self, after: int) -> Change | None:
        """Wait for the first change above a revision; None when the store is closed."""
        await trio.lowlevel.checkpoint()
        while True:
            self._check(after)
            if after < self.revision:
                return self._changes[after - self.compacted]
            if self._closed:
                return None
            await self._grown.wait()


@attrs.define(eq=False, kw_only=True)
class _Watch:
    """An iteration: it holds a position and nothing else."""

    history: History
    after: int

    def __aiter__(self) -> AsyncIterator[StateChange]:
        return self

    async def __anext__(self) -> StateChange:
        change = await self.history.next_after(self.after)
        if change is None:
            raise StopAsyncIteration
        self.after = change.revision
        return change.decoded()
