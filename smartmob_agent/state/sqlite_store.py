"""A store that lasts: SQLite in a thread of its own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TypeAlias, cast

import attrs
import trio

from smartmob_agent.state.database import Database, open_database
from smartmob_agent.state.history import Change, History
from smartmob_agent.state.schema import SCHEMA, Schema
from smartmob_agent.state.seam import (
    Key,
    StateChange,
    StateFailedError,
    StateFullError,
    StateSnapshot,
    StateStore,
    Value,
)
from smartmob_agent.state.worker import Job, Worker
from smartmob_agent.state.writes import PendingWrite

__all__ = ["CLOSE_TIMEOUT", "open_sqlite_store"]

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 10.0
"""Seconds for the last writes and a checkpoint: a moment, unless the disk hangs."""

Opener: TypeAlias = Callable[[], Database]


@contextlib.asynccontextmanager
async def open_sqlite_store(
    directory: Path, *, schema: Schema = SCHEMA
) -> AsyncGenerator[StateStore]:
    """Open the state in a directory, which is made if it is missing, for this agent alone.

    At the end the last writes are waited for, up to `CLOSE_TIMEOUT` seconds.  A thread that hangs
    then, in a call to a disk that does not answer, is left to itself, and the directory stays
    locked until the process ends.

    Raises `StartError` when the state cannot be had or others use it; then nothing was changed.

    If cancelled while it opens: the same end.
    """
    async with open_store_of(partial(open_database, directory, schema)) as store:
        yield store


@contextlib.asynccontextmanager
async def open_store_of(opener: Opener) -> AsyncGenerator[StateStore]:
    """Open a store of the database that a call returns; the call is made in the thread."""
    life = _Life(opener=opener)
    worker = Worker[PendingWrite | None]("state", life.run)
    worker.start()
    try:
        await life.opened.wait()
        if life.error is not None:
            raise life.error
        yield _SqliteStore(worker=worker, history=life.history)
    finally:
        worker.close()
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True) as scope:
            await worker.wait_ended()
        if scope.cancelled_caught:
            logger.error("the disk of the state hangs: its last writes may be lost")
        life.history.close()


@attrs.frozen(kw_only=True)
class _SqliteStore:
    """What is asked for goes to the thread; what was changed comes from there to `history`."""

    worker: Worker[PendingWrite | None]
    history: History

    async def read_all(self) -> StateSnapshot:
        return cast(StateSnapshot, await self.worker.run(None))

    async def compare_and_set(self, key: Key, value: Value | None, *, expected: int) -> int:
        write = PendingWrite(key, value, expected=expected)
        return cast(Change, await self.worker.run(write)).revision

    def watch(self, *, after: int) -> AbstractAsyncContextManager[AsyncIterator[StateChange]]:
        return self.history.watch(after=after)


Outcome: TypeAlias = StateSnapshot | Change | Exception


@attrs.define(eq=False, kw_only=True)
class _Life:
    """The life of the thread, and what it has told.

    history: empty until `opened`.
    error: why the database could not be opened.
    """

    opener: Opener
    history: History = attrs.field(factory=lambda: History(0))
    error: Exception | None = None
    opened: trio.Event = attrs.field(factory=trio.Event)

    def run(self, worker: Worker[PendingWrite | None]) -> None:
        """Open the database, work on jobs, close it; in the thread."""
        try:
            database = self.opener()
        except Exception as exc:  # noqa: BLE001  # raised where the store is opened
            worker.report(partial(self._open, 0, exc))
            return
        worker.report(partial(self._open, database.meta.revision, None))
        try:
            while jobs := worker.take():
                for is_read, group in groupby(jobs, lambda job: job.work is None):
                    some = list(group)
                    outcomes = _read(database, some) if is_read else _write(database, some)
                    worker.report(partial(self._tell, some, outcomes))
        finally:
            database.close()

    def _open(self, revision: int, error: Exception | None) -> None:
        self.history = History(revision)
        self.error = error
        self.opened.set()

    def _tell(self, jobs: Sequence[Job[PendingWrite | None]], outcomes: Sequence[Outcome]) -> None:
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Change):
                # Also when its writer has been cancelled meanwhile.
                self.history.add(outcome)
            job.finish(outcome)


def _read(database: Database, jobs: Sequence[Job[PendingWrite | None]]) -> Sequence[Outcome]:
    """Read everything for each of the jobs: documents are changed by whoever gets them."""
    outcomes: list[Outcome] = []
    for _ in jobs:
        try:
            outcomes.append(database.read_all())
        except StateFailedError as exc:
            outcomes.append(exc)
    return outcomes


def _write(database: Database, jobs: Sequence[Job[PendingWrite | None]]) -> Sequence[Outcome]:
    """Write all in one transaction: the disk is waited for once."""
    writes = [job.work for job in jobs if job.work is not None]
    try:
        return database.write(writes)
    except StateFullError as exc:
        if len(jobs) == 1:
            return [exc]
        # There may be room for some of them.
        return [outcome for job in jobs for outcome in _write(database, [job])]
    except StateFailedError as exc:
        return [StateFailedError(str(exc)) for _ in jobs]
