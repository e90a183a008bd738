"""Connections to SQLite, and what their errors mean."""

from __future__ import annotations

import sqlite3
from pathlib import Path

__all__ = ["HELD", "NO_ROOM", "PAGE_BYTES", "SHORT_READ", "SQLITE_ERRORS", "connect", "error_name"]

PAGE_BYTES = 4096

NO_ROOM = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE"})
"""A write failed, so its transaction was not committed.

SQLite has SQLITE_FULL for ENOSPC alone: a quota (EDQUOT) and a limit of file sizes (EFBIG) look
like any other failed write.
"""

SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""The latter comes instead of the former where a message quotes a damaged name."""

HELD = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"})
"""Another program has locked the file."""

SHORT_READ = "SQLITE_IOERR_SHORT_READ"
"""The file ends too early: damage, whatever the name says."""


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Open an existing file; transactions are begun and ended by their own statements.

    options: of the URI, `mode=rw`.

    Raises `sqlite3.Error`.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, timeout=0
    )
    # A damaged text is to be compared, and told of.
    connection.text_factory = lambda content: content.decode(errors="backslashreplace")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def error_name(exc: BaseException) -> str:
    """Return the name of SQLite's extended result code; empty for errors of the module itself."""
    return getattr(exc, "sqlite_errorname", "")
