"""Whose directory it is, who may read it, and who uses it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from smartmob_agent.errors import StartError
from smartmob_agent.state.check import StateReport, check_state
from smartmob_agent.state.database import open_database
from smartmob_agent.state.schema import SCHEMA
from smartmob_agent.state.state_dir import lock_state_dir
from tests.state.stores import contents, copy_of_used, fill, read, refusal


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_can_read_the_state(tmp_path: Path) -> None:
    """Environments hold secrets; whatever the mask of new files is."""
    before = os.umask(0)
    try:
        copy_of_used(tmp_path / "a" / "state", tmp_path / "copy")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a" / "state") == 0o700
    assert {path.name: mode(path) for path in (tmp_path / "copy").iterdir()} == {
        "state.db": 0o600,
        "state.db-wal": 0o600,
        "state.acknowledged": 0o600,
        "state.lock": 0o600,
    }


def test_a_copied_file_is_closed_to_others(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "state.db").chmod(0o644)
    read(tmp_path)
    assert mode(tmp_path / "state.db") == 0o600


def test_a_directory_of_everybody_is_refused(tmp_path: Path) -> None:
    """It is not changed: it might be /tmp."""
    tmp_path.chmod(0o755)
    assert refusal(tmp_path) == (
        f"expected the mode 0700 of {tmp_path}, which will hold secrets, found 0755: change it, or "
        "name a new directory below it"
    )
    assert (mode(tmp_path), list(tmp_path.iterdir())) == (0o755, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["", "state.db"])
def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path, name: str) -> None:
    fill(tmp_path, 1)
    os.chown(tmp_path / name, 12345, 12345)
    assert refusal(tmp_path) == (
        f"expected {tmp_path / name} to belong to user 0, who runs the agent, found user 12345"
    )


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartError, match=r"cannot keep state in .*/file/state: Not a directory"):
        open_database(tmp_path / "file" / "state", SCHEMA)


@pytest.mark.parametrize("name", ["state.db", "state.lock"])
def test_a_link_is_not_followed(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / name).symlink_to("elsewhere")
    with pytest.raises(StartError, match=r"expected a regular file|cannot lock"):
        open_database(tmp_path, SCHEMA)
    assert not (tmp_path / "elsewhere").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    os.mkfifo(tmp_path / "state.db")
    with pytest.raises(StartError, match=r"expected a regular file .*state\.db, found something"):
        open_database(tmp_path, SCHEMA)


PROGRAM = """
import sys
from pathlib import Path
from smartmob_agent.state.database import open_database
from smartmob_agent.state.schema import SCHEMA

database = open_database(Path(sys.argv[1]), SCHEMA)
print("open", flush=True)
sys.stdin.read()
"""


def test_the_second_agent_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    """And a killed one locks nothing."""
    fill(tmp_path, 1)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"
        message = f"expected no other agent to use {tmp_path}, found the one with pid {first.pid}"
        assert refusal(tmp_path) == message
        with pytest.raises(StartError) as caught:
            check_state(tmp_path)
        assert str(caught.value) == message
        first.kill()
        first.wait()
    assert len(read(tmp_path).documents) == 1


def test_a_lock_without_a_number_counts(tmp_path: Path) -> None:
    """Its holder had no room to write it."""
    with lock_state_dir(tmp_path):
        os.truncate(tmp_path / "state.lock", 0)
        with (
            pytest.raises(StartError, match="found the one with pid unknown"),
            lock_state_dir(tmp_path),
        ):
            pass


@pytest.mark.parametrize("used", [False, True])
def test_another_program_in_the_file_is_told(tmp_path: Path, used: bool) -> None:
    """It might write; nothing is changed, so it is not hurt either."""
    if used:
        copy_of_used(tmp_path / "used", tmp_path / "state")
    else:
        fill(tmp_path / "state", 1)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "state.db")) as other:
        other.execute("SELECT * FROM meta").fetchall()
        other.execute("BEGIN")
        other.execute("SELECT * FROM meta").fetchall()
        with pytest.raises(StartError) as caught:
            open_database(tmp_path / "state", SCHEMA)
    assert str(caught.value) == (
        f"expected no other program to use {tmp_path}/state/state.db, found one that does"
    )


def test_a_check_reports_and_changes_nothing(tmp_path: Path) -> None:
    used = copy_of_used(tmp_path / "state", tmp_path / "copy")
    before = contents(tmp_path / "copy")
    report = check_state(tmp_path / "copy")
    assert report == StateReport(
        path=tmp_path / "copy" / "state.db",
        version=1,
        newest=1,
        revision=49,
        documents={one.key: one.value for one in used.documents},
    )
    assert report.kinds == {"process": 31}
    assert contents(tmp_path / "copy") == before


def test_a_check_of_nothing_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"expected the state of an agent in .*, found no state"):
        check_state(tmp_path)
    assert list(tmp_path.iterdir()) == []
