"""A program that migrates a state to version 2, for a test that kills it.

    python migrator.py DIRECTORY

It writes a line before each statement that changes something.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import attrs

from smartmob_agent.state.database import open_database
from smartmob_agent.state.schema import Schema
from tests.state.schema_two import SCHEMA_2, upgrade


def step(_statement: str) -> None:
    sys.stdout.write("step\n")
    sys.stdout.flush()


def traced(connection: sqlite3.Connection) -> None:
    connection.set_trace_callback(step)
    upgrade(connection)


def main(directory: Path) -> None:
    step("")
    first, second = SCHEMA_2.versions
    open_database(directory, Schema(versions=[first, attrs.evolve(second, upgrade=traced)]))
    sys.stdout.write("done\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
