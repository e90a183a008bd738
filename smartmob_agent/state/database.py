"""The database itself: everything here blocks, and is called in one thread."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import attrs

from smartmob_agent.errors import StartError
from smartmob_agent.state.acknowledged import AcknowledgedFile
from smartmob_agent.state.connection import NO_ROOM, PAGE_BYTES, SQLITE_ERRORS, connect, error_name
from smartmob_agent.state.history import Change, Row
from smartmob_agent.state.migrate import make_file, migrate, publish_file, remove_file
from smartmob_agent.state.schema import (
    APPLICATION_ID,
    TOTAL_BYTES,
    Meta,
    Schema,
    add,
    checksum,
)
from smartmob_agent.state.seam import (
    StateConflictError,
    StateFailedError,
    StateFullError,
    StateSnapshot,
)
from smartmob_agent.state.state_dir import ACKNOWLEDGED, DATABASE, lock_state_dir, make_state_dir
from smartmob_agent.state.verify import WHAT_TO_DO, explained, look, verify
from smartmob_agent.state.writes import PendingWrite

__all__ = ["Database", "open_database"]

logger = logging.getLogger(__name__)

ROW = "SELECT value, created, revision FROM documents WHERE kind = ? AND name = ?"


def open_database(directory: Path, schema: Schema) -> Database:
    """Open the state in a directory, and make it if there is none.

    Raises `StartError`; then nothing was changed.
    """
    make_state_dir(directory)
    path = directory / DATABASE
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock_state_dir(directory))
        try:
            if not os.path.lexists(path):
                _create(path, schema)
            facts = look(path, schema)
            connection = connect(path, "mode=rw")
            stack.callback(connection.close)
            _configure(connection)
            facts = facts or verify(connection, path, schema)
            if facts.version < schema.newest:
                facts = migrate(connection, path, schema, facts)
        except OSError as exc:
            raise StartError(f"cannot open the state in {directory}: {exc.strerror}") from exc
        except SQLITE_ERRORS as exc:
            raise explained(path, exc) from exc
        return Database(
            path=path, connection=connection, meta=facts.meta, resources=stack.pop_all()
        )


def _configure(connection: sqlite3.Connection) -> None:
    """Take the file for this connection alone, and let each commit wait for the disk."""
    # Without shared memory, and nobody else can checkpoint or write meanwhile.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA temp_store = MEMORY")


def _create(path: Path, schema: Schema) -> None:
    """Make an empty database; it has its name when it is complete.

    Raises `StartError` when there was one: what is beside it is still there.
    """
    left = [path.with_name(f"{path.name}-wal"), path.with_name(ACKNOWLEDGED)]
    left += sorted(path.parent.glob(f"{path.name}.v[0-9]*"))
    if here := [one.name for one in left if os.path.lexists(one) and not one.name.endswith(".new")]:
        raise StartError(f"{path} is missing, though {', '.join(here)} is there: {WHAT_TO_DO}")
    new = path.with_name(f"{path.name}.new")
    make_file(new)
    meta = Meta(identity=secrets.token_hex(8), revision=0, total=bytes(TOTAL_BYTES), closed=1)
    try:
        with contextlib.closing(connect(new, "mode=rw")) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES:d}")
            connection.execute("BEGIN")
            for statement in schema.statements(schema.newest):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?)", meta.row())
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
            connection.execute(f"PRAGMA user_version = {schema.newest:d}")
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
        publish_file(new, path)
    except BaseException:
        remove_file(new)
        raise


@attrs.define(eq=False, kw_only=True)
class Database:
    """An open database.

    meta: as it is kept.
    failure: why it cannot be used any more; empty while it can.
    """

    path: Path
    meta: Meta
    failure: str = ""
    _connection: sqlite3.Connection
    _resources: contextlib.ExitStack
    _acknowledged: AcknowledgedFile | None = None
    _prepared: bool = False

    def read_all(self) -> StateSnapshot:
        """Return all documents, in the order of their creation.

        Raises `StateFailedError`.
        """
        self._check()
        query = "SELECT kind, name, value, created, revision FROM documents ORDER BY created"
        try:
            documents = tuple(
                Row(key=(kind, name), text=text, created=created, revision=revision).document()
                for kind, name, text, created, revision in self._connection.execute(query)
            )
        except Exception as exc:
            raise self._fail(exc) from exc
        return StateSnapshot(revision=self.meta.revision, documents=documents)

    def write(self, writes: Sequence[PendingWrite]) -> list[Change | StateConflictError]:
        """Make some changes in one transaction, and return them in order when they are kept.

        Those that conflict are left out, all others are kept or none is.

        Raises `StateFullError`, then nothing was changed; `StateFailedError`, then the next start
        tells.
        """
        self._check()
        try:
            acknowledged = self._prepare()
            connection, meta = self._connection, self.meta
            outcomes: list[Change | StateConflictError] = []
            connection.execute("BEGIN IMMEDIATE")
            for write in writes:
                try:
                    change, meta = self._apply(write, meta)
                except StateConflictError as exc:
                    outcomes.append(exc)
                else:
                    outcomes.append(change)
            meta.write(connection)
            connection.execute("COMMIT")
        except Exception as exc:
            # Whatever it is: the transaction ends, and the thread goes on.
            raise self._undo(exc) from exc
        self.meta = meta
        self._acknowledge(acknowledged)
        return outcomes

    def _apply(self, write: PendingWrite, meta: Meta) -> tuple[Change, Meta]:
        connection, key = self._connection, write.key
        row = connection.execute(ROW, key).fetchone()
        found, total = None, meta.total
        if row is not None:
            found = Row(key=key, text=row[0], created=row[1], revision=row[2])
            total = add(total, checksum(*key, *row))
        change = write.made(found, revision=meta.revision + 1)
        if change.row is None:
            connection.execute("DELETE FROM documents WHERE kind = ? AND name = ?", key)
        else:
            values = (*key, change.row.text, change.row.created, change.revision)
            one = checksum(*values)
            total = add(total, one)
            connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", (*values, one)
            )
        return change, attrs.evolve(meta, revision=change.revision, total=total)

    def _prepare(self) -> AcknowledgedFile:
        """Before the first change: a copy of the file alone is recognized from now on."""
        if self._acknowledged is None:
            self._acknowledged = AcknowledgedFile(
                self.path.with_name(ACKNOWLEDGED), self.meta.identity, self.meta.revision
            )
        if self.meta.closed:
            self._mark(closed=0)
        if not self._prepared:
            # The mark must be in the file itself, not in the log that such a copy lacks.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._prepared = True
        return self._acknowledged

    def _mark(self, *, closed: int) -> None:
        meta = attrs.evolve(self.meta, closed=closed)
        self._connection.execute("BEGIN IMMEDIATE")
        meta.write(self._connection)
        self._connection.execute("COMMIT")
        self.meta = meta

    def _acknowledge(self, acknowledged: AcknowledgedFile) -> None:
        try:
            acknowledged.write(self.meta.revision)
        except OSError as exc:
            # The change is kept; a loss of it would not be noticed.
            logger.warning(
                "cannot note what was acknowledged",
                extra={"path": str(self.path), "error": exc.strerror},
            )

    def _check(self) -> None:
        if self.failure:
            raise StateFailedError(f"the state cannot be used since an error: {self.failure}")

    def _undo(self, exc: Exception) -> StateFullError | StateFailedError:
        """Roll back after a failed write; what cannot be rolled back ends the use of the store."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as second:
            return self._fail(second)
        if isinstance(exc, OSError) or error_name(exc) in NO_ROOM:
            return StateFullError(f"the disk does not take the change ({exc}): nothing was changed")
        # After a failed fsync nobody can say what is on the disk.
        return self._fail(exc)

    def _fail(self, exc: Exception) -> StateFailedError:
        self.failure = f"{exc} ({error_name(exc)})"
        logger.error(
            "the state cannot be used any more",
            extra={"path": str(self.path), "error": self.failure},
        )
        return StateFailedError(f"the state cannot be used: {self.failure}")

    def close(self) -> None:
        """Close the file, complete in itself where the disk allows it, and unlock the directory."""
        with self._resources:
            if self._acknowledged is not None:
                self._acknowledged.close()
            try:
                if not self.meta.closed and not self.failure:
                    self._mark(closed=1)
            except sqlite3.Error as exc:
                # Nothing is lost: the next start reads the log.
                logger.warning(
                    "cannot close the state properly",
                    extra={"path": str(self.path), "error": str(exc)},
                )
