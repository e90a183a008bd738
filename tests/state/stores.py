"""Stores, and files of them in a bad way."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from smartmob_agent.errors import StartError
from smartmob_agent.state.database import open_database
from smartmob_agent.state.history import Change
from smartmob_agent.state.memory import MemoryStore
from smartmob_agent.state.schema import SCHEMA, Schema
from smartmob_agent.state.seam import StateSnapshot, StateStore
from smartmob_agent.state.sqlite_store import open_sqlite_store
from smartmob_agent.state.writes import PendingWrite
from smartmob_agent.testing import FakeStore

Open = Callable[[], AbstractAsyncContextManager[StateStore]]

KEY = ("process", "hello.web.0")
OTHER = ("process", "hello.worker.0")


def sqlite(directory: Path) -> Open:
    return lambda: open_sqlite_store(directory / "state")


def memory(_directory: Path) -> Open:
    """The same one each time: it lasts as long as its agent."""
    stores = [MemoryStore()]

    @contextlib.asynccontextmanager
    async def open_it() -> AsyncGenerator[StateStore]:
        stores.append(stores[-1].reopened())
        yield stores[-1]
        stores[-1].close()

    return open_it


def fake(_directory: Path) -> Open:
    store = FakeStore()

    @contextlib.asynccontextmanager
    async def open_it() -> AsyncGenerator[StateStore]:
        store.restart()
        yield store
        store.close()

    return open_it


def fill(directory: Path, count: int = 30) -> StateSnapshot:
    """Open the state and change it: some of it is in the file then, and some only in the log."""
    database = open_database(directory, SCHEMA)
    with contextlib.closing(database):
        for number in range(count):
            key = ("process", f"hello.web.{number}")
            database.write([PendingWrite(key, {"n": number, "pad": "x" * 500}, expected=0)])
        return database.read_all()


def copy_of_used(directory: Path, copy: Path) -> StateSnapshot:
    """Copy a directory as SIGKILL leaves it: the state is open, and changes are in the log."""
    fill(directory)
    database = open_database(directory, SCHEMA)
    with contextlib.closing(database):
        for number in range(10):
            (change,) = database.write([PendingWrite(OTHER, {"n": number}, expected=0)])
            assert isinstance(change, Change)
            last = change.revision
            if number < 9:
                database.write([PendingWrite(OTHER, None, expected=last)])
        shutil.copytree(directory, copy)
        return database.read_all()


def contents(directory: Path) -> dict[str, bytes]:
    """Return all that is in a directory, except who locks it."""
    return {
        path.name: path.read_bytes() for path in directory.iterdir() if path.name != "state.lock"
    }


def read(directory: Path, schema: Schema = SCHEMA) -> StateSnapshot:
    """Open the state and read it."""
    database = open_database(directory, schema)
    with contextlib.closing(database):
        return database.read_all()


def refusal(directory: Path, schema: Schema = SCHEMA) -> str:
    """Return why the state cannot be opened; nothing was changed then."""
    before = contents(directory)
    with pytest.raises(StartError) as caught:
        open_database(directory, schema)
    assert contents(directory) == before
    message = str(caught.value)
    assert "\n" not in message
    return message
