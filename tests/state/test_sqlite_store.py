"""The store whose database is slow, hangs, or fails."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.errors import RequestError, StartError
from smartmob_agent.state import sqlite_store
from smartmob_agent.state.acknowledged import AcknowledgedFile
from smartmob_agent.state.database import Database, open_database
from smartmob_agent.state.history import Change
from smartmob_agent.state.schema import SCHEMA
from smartmob_agent.state.seam import (
    StateConflictError,
    StateFailedError,
    StateFullError,
    StateSnapshot,
    StateStore,
)
from smartmob_agent.state.sqlite_store import open_sqlite_store, open_store_of
from smartmob_agent.state.writes import PendingWrite
from tests.state.stores import KEY, OTHER, contents, read


def state_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "state"]


class SlowDisk:
    """A database whose disk does not answer until it is let go.

    batches: how many writes came at once.
    full_at: a transaction of more writes than this does not fit.
    """

    def __init__(self, database: Database, *, full_at: int = 1000) -> None:
        self.database = database
        self.meta = database.meta
        self.go = threading.Event()
        self.begun = threading.Event()
        self.batches: list[int] = []
        self.full_at = full_at

    def read_all(self) -> StateSnapshot:
        return self.database.read_all()

    def write(self, writes: Sequence[PendingWrite]) -> list[Change | StateConflictError]:
        self.begun.set()
        self.go.wait()
        self.batches.append(len(writes))
        if len(writes) > self.full_at:
            raise StateFullError("no room")
        return self.database.write(writes)

    def close(self) -> None:
        self.database.close()


def on(disks: list[SlowDisk], directory: Path, *, full_at: int = 1000) -> Callable[[], Database]:
    def opener() -> Database:
        disks.append(SlowDisk(open_database(directory, SCHEMA), full_at=full_at))
        return disks[0]  # type: ignore[return-value]  # it does all that is asked of one

    return opener


async def wait_begun(disk: SlowDisk) -> None:
    await trio.to_thread.run_sync(disk.begun.wait)


async def try_write(store: StateStore, outcomes: dict[str, object], name: str) -> None:
    try:
        outcomes[name] = await store.compare_and_set(("process", name), {}, expected=0)
    except RequestError as exc:
        outcomes[name] = type(exc).__name__


async def test_the_thread_ends_with_the_store(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "state") as store:
        assert len(state_threads()) == 1
    assert state_threads() == []
    with pytest.raises(StateFailedError, match="the state is closed"):
        await store.read_all()


async def test_a_state_that_cannot_be_had_leaves_no_thread(tmp_path: Path) -> None:
    await trio.Path(tmp_path).chmod(0o755)
    with pytest.raises(StartError, match="expected the mode 0700"):
        async with open_sqlite_store(tmp_path):
            raise AssertionError
    assert state_threads() == []


async def test_two_stores_cannot_use_one_directory(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "state"):
        with pytest.raises(StartError, match=f"found the one with pid {os.getpid()}"):
            async with open_sqlite_store(tmp_path / "state"):
                raise AssertionError


async def test_an_idle_store_writes_nothing(tmp_path: Path) -> None:
    """Neither one that only reads, nor one that has written."""
    async with open_sqlite_store(tmp_path / "state") as store:
        await store.read_all()
        assert {*contents(tmp_path / "state")} == {"state.db", "state.db-wal"}
        await store.compare_and_set(KEY, {}, expected=0)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "state").iterdir()}
        await store.read_all()
        assert before == {path: path.stat().st_mtime_ns for path in before}


async def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """In WAL mode that takes `synchronous` FULL (sqlite.org/pragma.html)."""
    database = open_database(tmp_path / "state", SCHEMA)
    found = [
        database._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "journal_mode", "locking_mode")
    ]
    database.close()
    assert found == [2, "wal", "exclusive"]


async def test_writes_that_wait_share_a_transaction(tmp_path: Path) -> None:
    disks: list[SlowDisk] = []
    outcomes: dict[str, object] = {}
    opened = open_store_of(on(disks, tmp_path / "state"))
    async with opened as store, trio.open_nursery() as nursery:
        nursery.start_soon(try_write, store, outcomes, "first")
        await wait_begun(disks[0])
        for number in range(10):
            nursery.start_soon(try_write, store, outcomes, f"n{number}")
        await trio.testing.wait_all_tasks_blocked()
        disks[0].go.set()
    assert disks[0].batches == [1, 10]
    assert sorted(outcomes.values(), key=str) == sorted(range(1, 12), key=str)


async def test_where_all_find_no_room_each_is_tried(tmp_path: Path) -> None:
    disks: list[SlowDisk] = []
    outcomes: dict[str, object] = {}
    async with open_store_of(on(disks, tmp_path / "state", full_at=1)) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_write, store, outcomes, "first")
            await wait_begun(disks[0])
            for number in range(3):
                nursery.start_soon(try_write, store, outcomes, f"n{number}")
            await trio.testing.wait_all_tasks_blocked()
            disks[0].go.set()
        disks[0].full_at = 0
        await try_write(store, outcomes, "last")
    assert disks[0].batches == [1, 3, 1, 1, 1, 1]
    assert outcomes.pop("last") == "StateFullError"
    assert sorted(outcomes.values(), key=str) == [1, 2, 3, 4]


async def test_a_hanging_disk_holds_up_nobody_who_is_cancelled(tmp_path: Path) -> None:
    """A write that was begun is kept, one that still waited is not; a watcher sees it, too."""
    disks: list[SlowDisk] = []
    async with open_store_of(on(disks, tmp_path / "state")) as store:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(store.compare_and_set, KEY, {}, expected=0))
                await wait_begun(disks[0])
                nursery.start_soon(partial(store.compare_and_set, OTHER, {}, expected=0))
                nursery.start_soon(store.read_all)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        disks[0].go.set()
        snapshot = await store.read_all()
        async with store.watch(after=0) as changes:
            assert (await anext(changes)).key == KEY
    assert [one.key for one in snapshot.documents] == [KEY]
    assert disks[0].batches == [1]


def test_a_hanging_disk_holds_up_no_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread is left to itself, and may tell its outcome when nobody is there."""
    monkeypatch.setattr(sqlite_store, "CLOSE_TIMEOUT", 0.01)
    disks: list[SlowDisk] = []

    async def main() -> None:
        opened = open_store_of(on(disks, tmp_path / "state"))
        async with opened as store, trio.open_nursery() as nursery:
            nursery.start_soon(partial(store.compare_and_set, KEY, {}, expected=0))
            await wait_begun(disks[0])
            nursery.cancel_scope.cancel()

    with caplog.at_level(logging.ERROR):
        trio.run(main)
    (thread,) = state_threads()
    assert thread.daemon
    disks[0].go.set()
    thread.join(60)
    assert "the disk of the state hangs" in caplog.text
    assert len(read(tmp_path / "state").documents) == 1


async def test_an_opening_that_hangs_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "CLOSE_TIMEOUT", 0.01)
    go = threading.Event()

    def opener() -> Database:
        go.wait()
        return open_database(tmp_path / "state", SCHEMA)

    with trio.move_on_after(0.01) as scope:
        async with open_store_of(opener):
            raise AssertionError
    assert scope.cancelled_caught
    (thread,) = state_threads()
    go.set()
    await trio.to_thread.run_sync(thread.join, 60)
    assert read(tmp_path / "state").documents == ()


async def test_a_failed_fsync_ends_the_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody can say what is on the disk; the next start looks."""
    async with open_store_of(
        lambda: spoil(open_database(tmp_path / "state", SCHEMA), "COMMIT")
    ) as store:
        with pytest.raises(StateFailedError, match="the state cannot be used: disk I/O error"):
            await store.compare_and_set(KEY, {}, expected=0)
        for _ in range(2):
            with pytest.raises(StateFailedError, match="cannot be used since an error: disk I/O"):
                await store.read_all()
            with pytest.raises(StateFailedError, match="cannot be used since an error: disk I/O"):
                await store.compare_and_set(KEY, {}, expected=0)
    assert StateFailedError.status == 500
    assert "the state cannot be used any more" in caplog.text


def spoil(database: Database, *words: str, name: str = "SQLITE_IOERR_FSYNC") -> Database:
    """Let the disk of a database fail at each statement that starts with some words."""
    connection = FailingConnection(database._connection, words, name)
    database._connection = connection  # type: ignore[assignment]  # a fake
    return database


class FailingConnection:
    def __init__(self, connection: sqlite3.Connection, words: tuple[str, ...], name: str) -> None:
        self.connection = connection
        self.words = words
        self.name = name

    @property
    def in_transaction(self) -> bool:
        return self.connection.in_transaction

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> object:
        if statement.startswith(self.words):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self.name
            raise error
        return self.connection.execute(statement, parameters)


@pytest.mark.parametrize("words", [("SELECT",), ("COMMIT", "ROLLBACK")])
def test_what_cannot_be_undone_ends_the_use(tmp_path: Path, words: tuple[str, ...]) -> None:
    database = open_database(tmp_path / "state", SCHEMA)
    database.write([PendingWrite(KEY, {}, expected=0)])
    spoil(database, *words, name="SQLITE_FULL")
    with pytest.raises(StateFailedError):
        database.read_all() if words == ("SELECT",) else database.write(
            [PendingWrite(KEY, None, expected=1)]
        )
    with pytest.raises(StateFailedError, match="cannot be used since"):
        database.read_all()
    database.close()
    assert len(read(tmp_path / "state").documents) == 1


def test_a_note_that_cannot_be_written_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change itself is kept."""

    def fail(_file: AcknowledgedFile, _revision: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(AcknowledgedFile, "write", fail)
    database = open_database(tmp_path / "state", SCHEMA)
    database.write([PendingWrite(KEY, {}, expected=0)])
    database.close()
    assert "cannot note what was acknowledged" in caplog.text
    assert len(read(tmp_path / "state").documents) == 1


def test_a_state_that_cannot_be_closed_properly_is_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = open_database(tmp_path / "state", SCHEMA)
    database.write([PendingWrite(KEY, {}, expected=0)])
    spoil(database, "BEGIN", name="SQLITE_FULL")
    database.close()
    assert "cannot close the state properly" in caplog.text
    assert len(read(tmp_path / "state").documents) == 1
