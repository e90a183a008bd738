"""Whether a database is whole, ours, and of a known version."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import attrs

from smartmob_agent.errors import StartError
from smartmob_agent.state.acknowledged import read_acknowledged
from smartmob_agent.state.connection import (
    HELD,
    PAGE_BYTES,
    SHORT_READ,
    SQLITE_ERRORS,
    connect,
    error_name,
)
from smartmob_agent.state.schema import APPLICATION_ID, TOTAL_BYTES, Meta, Schema, add, checksum
from smartmob_agent.state.seam import Key, Value
from smartmob_agent.state.state_dir import ACKNOWLEDGED, check_file
from smartmob_agent.state.values import decode

__all__ = ["WHAT_TO_DO", "Facts", "explained", "look", "verify"]

BEGINNING = b"SQLite format 3\0" + PAGE_BYTES.to_bytes(2)
"""Of each file: the name of the format and the size of a page (sqlite.org/fileformat2.html)."""

NO_DISK = ("SQLITE_FULL", "SQLITE_IOERR_SHM", "SQLITE_IOERR_WRITE", "SQLITE_CANTOPEN")
"""Errors where there can be no shared memory: only a connection that may write does without."""

WHAT_TO_DO = "restore the whole directory from a backup, or move it away to start with no processes"


@attrs.frozen(kw_only=True)
class Facts:
    """What was found in a database that is whole.

    documents: key → value.
    """

    version: int
    meta: Meta
    documents: Mapping[Key, Value]


class _DamageError(Exception):
    """What was found."""


def _damaged(path: Path, found: object) -> StartError:
    return StartError(f"{path} is damaged ({found}): {WHAT_TO_DO}")


def look(path: Path, schema: Schema) -> Facts | None:
    """Verify a database without a change to it or to its log; None if that needs more disk.

    Raises `StartError`.
    """
    try:
        return _look_beside(path, schema)
    except OSError as exc:
        raise StartError(f"cannot read the state in {path.parent}: {exc.strerror}") from exc


def _look_beside(path: Path, schema: Schema) -> Facts | None:
    check_file(path)
    _check_beginning(path)
    wal, shm, journal = (path.with_name(path.name + one) for one in ("-wal", "-shm", "-journal"))
    if journal.exists():
        # SQLite would put old pages back; we keep none.
        raise _damaged(path, f"{journal.name} is beside it, which no agent writes")
    if not wal.exists() or not wal.stat().st_size:
        return _look(path, "mode=ro&immutable=1", schema)
    had_shm = shm.exists()
    try:
        # Closing any other connection would move what is valid in the log to the database, and
        # remove the rest.
        return _look(path, "mode=ro", schema)
    finally:
        if not had_shm:
            shm.unlink(missing_ok=True)


def _check_beginning(path: Path) -> None:
    """Check what is no database at all: SQLite removes the log beside one of less than a page."""
    with path.open("rb") as file:
        page = file.read(PAGE_BYTES)
    if not page:
        raise _damaged(path, "it is empty")
    if len(page) < PAGE_BYTES or not page.startswith(BEGINNING):
        raise _damaged(path, "it does not begin like a database")


def _look(path: Path, options: str, schema: Schema) -> Facts | None:
    try:
        connection = connect(path, options)
        try:
            return verify(connection, path, schema)
        finally:
            connection.close()
    except SQLITE_ERRORS as exc:
        if error_name(exc).startswith(NO_DISK):
            return None
        raise explained(path, exc) from exc


def explained(path: Path, exc: Exception) -> StartError:
    """Return the error of a start for one of SQLite."""
    name = error_name(exc)
    if name in HELD:
        return StartError(f"expected no other program to use {path}, found one that does")
    if name.startswith((*NO_DISK, "SQLITE_IOERR", "SQLITE_READONLY")) and name != SHORT_READ:
        return StartError(f"cannot use {path}: {exc} ({name})")
    return _damaged(path, exc)


def verify(connection: sqlite3.Connection, path: Path, schema: Schema) -> Facts:
    """Check everything in a database, and that nothing is missing that was acknowledged.

    Raises `StartError`; `sqlite3.Error` when it could not be read.
    """
    version = _check_version(connection, path, schema)
    try:
        _check_file(connection)
        _check_tables(connection, schema, version)
        meta = _check_meta(connection)
        documents = _check_documents(connection, meta)
    except _DamageError as exc:
        raise _damaged(path, str(exc).splitlines()[0]) from None
    _check_complete(path, meta)
    return Facts(version=version, meta=meta, documents=documents)


def _check_version(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID or version < 1:
        raise StartError(
            f"{path} is no state of an agent, or a damaged one (application {application:#x}, "
            f"version {version}): {WHAT_TO_DO}"
        )
    if version > schema.newest:
        raise StartError(
            f"expected {path} to have a version up to {schema.newest}, found version {version}, "
            "which a newer agent has written: start that one, or restore the backup that it made"
        )
    return int(version)


def _check_file(connection: sqlite3.Connection) -> None:
    found = [text for (text,) in connection.execute("PRAGMA integrity_check(1)")]
    if found != ["ok"]:
        raise _DamageError(f"integrity_check: {' '.join(found)}")


def _check_tables(connection: sqlite3.Connection, schema: Schema, version: int) -> None:
    tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_schema")} - {None}
    if tables != set(schema.statements(version)):
        raise _DamageError(f"its tables are not those of version {version}")


def _check_meta(connection: sqlite3.Connection) -> Meta:
    rows = connection.execute("SELECT * FROM meta").fetchall()
    if len(rows) != 1:
        raise _DamageError(f"{len(rows)} rows in the table meta")
    identity, revision, total, closed, _checksum = rows[0]
    if not isinstance(total, bytes) or len(total) != TOTAL_BYTES or not isinstance(revision, int):
        raise _DamageError("a wrong type in the table meta")
    meta = Meta(identity=identity, revision=revision, total=total, closed=closed)
    if meta.row() != rows[0]:
        raise _DamageError("a wrong checksum in the table meta")
    return meta


def _check_documents(connection: sqlite3.Connection, meta: Meta) -> Mapping[Key, Value]:
    total, documents = bytes(TOTAL_BYTES), dict[Key, Value]()
    query = "SELECT kind, name, value, created, revision, checksum FROM documents"
    for *row, found in connection.execute(query):
        one = checksum(*row)
        if one != found:
            raise _DamageError(f"a wrong checksum of {row[0]}/{row[1]}")
        try:
            documents[row[0], row[1]] = decode(row[2])
        except ValueError as exc:
            raise _DamageError(f"no JSON object in {row[0]}/{row[1]}") from exc
        total = add(total, one)
    if total != meta.total:
        raise _DamageError("documents are missing or too many")
    return documents


def _check_complete(path: Path, meta: Meta) -> None:
    beside = path.with_name(ACKNOWLEDGED)
    acknowledged = read_acknowledged(beside)
    if acknowledged is None:
        if not meta.closed:
            raise StartError(
                f"{path} is a copy that was made while an agent used it, without the files beside "
                f"it, so the end may be missing: copy the whole directory; or {WHAT_TO_DO}"
            )
    elif acknowledged.identity != meta.identity:
        raise StartError(
            f"{path} is not the file to which {beside} belongs: remove the latter if you have put "
            "a complete file in the place of another"
        )
    elif acknowledged.revision > meta.revision:
        raise StartError(
            f"expected revision {acknowledged.revision} in {path}, which was acknowledged, found "
            f"{meta.revision}: {WHAT_TO_DO}; remove {beside} if you have restored an older file"
        )
