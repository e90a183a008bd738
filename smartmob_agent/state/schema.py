"""The tables of the database, and how an older version becomes a newer one."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

__all__ = [
    "APPLICATION_ID",
    "SCHEMA",
    "TOTAL_BYTES",
    "Meta",
    "Migration",
    "Schema",
    "Version",
    "add",
    "checksum",
    "reseal",
]

APPLICATION_ID = 0x736D6F62
"""In the header of the file, for `file(1)` and for us."""

TOTAL_BYTES = 16

Migration: TypeAlias = Callable[[sqlite3.Connection], None]


@attrs.frozen(kw_only=True)
class Version:
    """One version of the tables.

    statements: which make the tables; the texts are compared with those in a file.
    upgrade: changes a database of the version before, within a transaction; checksums are made
    afterwards.  The columns of `documents` and `meta` stay as they are, in all versions.
    """

    statements: Sequence[str]
    upgrade: Migration


@attrs.frozen(kw_only=True)
class Schema:
    """All versions, the first one is 1."""

    versions: Sequence[Version]

    @property
    def newest(self) -> int:
        return len(self.versions)

    def statements(self, version: int) -> Sequence[str]:
        return self.versions[version - 1].statements


DOCUMENTS = (
    "CREATE TABLE documents (kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, "
    "created INTEGER NOT NULL, revision INTEGER NOT NULL, checksum BLOB NOT NULL, "
    "PRIMARY KEY (kind, name)) WITHOUT ROWID"
)
META = (
    "CREATE TABLE meta (identity TEXT NOT NULL, revision INTEGER NOT NULL, total BLOB NOT NULL, "
    "closed INTEGER NOT NULL, checksum BLOB NOT NULL)"
)


def _nothing(_connection: sqlite3.Connection) -> None:
    """Change nothing: no version lies before the first."""


SCHEMA = Schema(versions=[Version(statements=[DOCUMENTS, META], upgrade=_nothing)])


def checksum(*parts: object) -> bytes:
    """Return a digest of some values of a row.

    SQLite has no checksums in the database itself: a bit that fell over in a text stays unnoticed.
    """
    digest = hashlib.blake2b(digest_size=TOTAL_BYTES)
    for part in parts:
        content = repr(part).encode()
        digest.update(b"%d:%b" % (len(content), content))
    return digest.digest()


def add(total: bytes, *checksums: bytes) -> bytes:
    """Add rows to the digest of all rows, whatever their order; a second time takes them away."""
    number = int.from_bytes(total)
    for one in checksums:
        number ^= int.from_bytes(one)
    return number.to_bytes(TOTAL_BYTES)


@attrs.frozen(kw_only=True)
class Meta:
    """The one row of `meta`.

    identity: of this database and its copies.
    total: the digest of all rows of `documents`.
    closed: 1 when the file was closed by an agent that ended properly, so it is complete in itself.
    """

    identity: str
    revision: int
    total: bytes
    closed: int

    def row(self) -> tuple[str, int, bytes, int, bytes]:
        values = (self.identity, self.revision, self.total, self.closed)
        return (*values, checksum(*values))

    def write(self, connection: sqlite3.Connection) -> None:
        """Replace the row, within a transaction."""
        connection.execute(
            "UPDATE meta SET identity = ?, revision = ?, total = ?, closed = ?, checksum = ?",
            self.row(),
        )


def reseal(connection: sqlite3.Connection, meta: Meta) -> None:
    """Make all checksums again, after a migration and within its transaction."""
    total = bytes(TOTAL_BYTES)
    query = "SELECT kind, name, value, created, revision FROM documents"
    for row in connection.execute(query).fetchall():
        one = checksum(*row)
        total = add(total, one)
        connection.execute(
            "UPDATE documents SET checksum = ? WHERE kind = ? AND name = ?", (one, *row[:2])
        )
    attrs.evolve(meta, total=total).write(connection)
