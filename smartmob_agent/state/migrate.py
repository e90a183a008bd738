"""From an older version of the database to the newest, with a backup beside it."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from pathlib import Path

import attrs

from smartmob_agent.state.connection import connect
from smartmob_agent.state.schema import Schema, reseal
from smartmob_agent.state.state_dir import sync_dir
from smartmob_agent.state.verify import Facts, verify

__all__ = ["make_file", "migrate", "publish_file", "remove_file"]

logger = logging.getLogger(__name__)


def make_file(path: Path) -> None:
    """Make an empty file, mode 0600, of which SQLite makes a database.

    Raises `OSError`.
    """
    remove_file(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR))


def publish_file(new: Path, path: Path) -> None:
    """Give a complete file its name, so that the file is on the disk before the name is.

    Raises `OSError`.
    """
    fd = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    new.replace(path)
    sync_dir(path.parent)


def remove_file(path: Path) -> None:
    """Remove a database that was not completed, with all that SQLite puts beside one."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def migrate(connection: sqlite3.Connection, path: Path, schema: Schema, facts: Facts) -> Facts:
    """Make a database one of the newest version, in one transaction; a kill leaves the old one.

    Raises `sqlite3.Error`, `OSError`, `StartError`; then nothing was changed.
    """
    backup = path.with_name(f"{path.name}.v{facts.version}")
    _back_up(connection, backup, facts)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(facts.version + 1, schema.newest + 1):
            schema.versions[number - 1].upgrade(connection)
            # The number of a version cannot be a parameter of a pragma.
            connection.execute(f"PRAGMA user_version = {number:d}")
        reseal(connection, facts.meta)
        facts = verify(connection, path, schema)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    logger.info(
        "migrated the state",
        extra={"path": str(path), "version": facts.version, "backup": str(backup)},
    )
    return facts


def _back_up(connection: sqlite3.Connection, backup: Path, facts: Facts) -> None:
    new = backup.with_name(f"{backup.name}.new")
    try:
        make_file(new)
        with contextlib.closing(connect(new, "mode=rw")) as copy:
            connection.backup(copy)
            # Without shared memory, which would be more to write.
            copy.execute("PRAGMA locking_mode = EXCLUSIVE")
            attrs.evolve(facts.meta, closed=1).write(copy)
        publish_file(new, backup)
    finally:
        remove_file(new)
