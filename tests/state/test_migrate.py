"""An old file becomes a new one, with a backup beside it, or stays an old one."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from smartmob_agent.errors import StartError
from smartmob_agent.state.check import check_state
from smartmob_agent.state.database import open_database
from smartmob_agent.state.schema import Schema, Version
from smartmob_agent.state.seam import StateSnapshot
from tests.state.schema_two import SCHEMA_2
from tests.state.stores import contents, copy_of_used, fill, read, refusal

MIGRATOR = Path(__file__).with_name("migrator.py")


def migrated(snapshot: StateSnapshot) -> StateSnapshot:
    documents = tuple(
        attrs.evolve(one, value={**one.value, "new": True}) for one in snapshot.documents
    )
    return attrs.evolve(snapshot, documents=documents)


@pytest.mark.parametrize("used", [False, True])
def test_an_old_file_becomes_a_new_one(tmp_path: Path, used: bool) -> None:
    """Also that of a killed agent: what is in its log is in the backup, too."""
    directory = tmp_path / "state"
    before = copy_of_used(tmp_path / "used", directory) if used else fill(directory)
    old = contents(directory)
    assert (check_state(directory, schema=SCHEMA_2).version, contents(directory)) == (1, old)
    for _ in range(2):
        assert read(directory, SCHEMA_2) == migrated(before)
    assert check_state(directory, schema=SCHEMA_2).version == 2
    assert {*contents(directory)} == {"state.db", "state.db.v1", "state.acknowledged"}
    (tmp_path / "back").mkdir(mode=0o700)
    shutil.copy(directory / "state.db.v1", tmp_path / "back" / "state.db")
    assert read(tmp_path / "back") == before


def test_an_older_agent_refuses_a_newer_file(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    read(tmp_path, SCHEMA_2)
    assert refusal(tmp_path) == (
        f"expected {tmp_path}/state.db to have a version up to 1, found version 2, which a newer "
        "agent has written: start that one, or restore the backup that it made"
    )


def test_a_new_file_has_the_newest_version(tmp_path: Path) -> None:
    assert read(tmp_path / "state", SCHEMA_2).documents == ()
    assert check_state(tmp_path / "state", schema=SCHEMA_2).version == 2


def spoil(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE documents SET value = 'no JSON'")


def fail(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE documents SET value = ''")
    connection.execute("no SQL")


@pytest.mark.parametrize("upgrade", [spoil, fail])
def test_a_migration_that_fails_changes_nothing(tmp_path: Path, upgrade: object) -> None:
    before = fill(tmp_path, 3)
    first = SCHEMA_2.versions[0]
    second = Version(statements=first.statements, upgrade=upgrade)  # type: ignore[arg-type]  # two
    with pytest.raises(StartError, match=r"state\.db is damaged \(.*\)"):
        open_database(tmp_path, Schema(versions=[first, second]))
    assert read(tmp_path) == before


@pytest.mark.slow
def test_a_migration_that_is_killed_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Whenever SIGKILL comes, the next start has everything."""
    before = copy_of_used(tmp_path / "used", tmp_path / "copy")
    choose, versions = random.Random(16), set()
    for number in range(16):
        directory = tmp_path / str(number)
        shutil.copytree(tmp_path / "copy", directory)
        lines = choose.randrange(1, 100) if number else 1000
        with subprocess.Popen(
            [sys.executable, MIGRATOR, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as program:
            assert program.stdout is not None
            for _ in range(lines):
                if program.stdout.readline() == b"done\n":
                    break
            program.kill()
        version = check_state(directory, schema=SCHEMA_2).version
        versions.add(version)
        if version == 1:
            assert read(directory) == before
        assert read(directory, SCHEMA_2) == migrated(before)
    assert versions == {1, 2}
