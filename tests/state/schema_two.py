"""A second version of the tables, for tests of how an old file becomes a new one."""

from __future__ import annotations

import json
import sqlite3

from smartmob_agent.state.schema import SCHEMA, Schema, Version

EXTRA = "CREATE TABLE extra (name TEXT)"


def upgrade(connection: sqlite3.Connection) -> None:
    """Add a table, and a field to each document."""
    connection.execute(EXTRA)
    rows = connection.execute("SELECT kind, name, value FROM documents").fetchall()
    for kind, name, value in rows:
        text = json.dumps({**json.loads(value), "new": True}, separators=(",", ":"))
        connection.execute(
            "UPDATE documents SET value = ? WHERE kind = ? AND name = ?", (text, kind, name)
        )


SCHEMA_2 = Schema(
    versions=[
        *SCHEMA.versions,
        Version(statements=[*SCHEMA.statements(1), EXTRA], upgrade=upgrade),
    ]
)
