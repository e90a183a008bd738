"""A disk without room: nothing is changed, nothing is lost, and it goes on when there is room."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from smartmob_agent.errors import RequestError, StartError
from smartmob_agent.state.acknowledged import AcknowledgedFile
from smartmob_agent.state.check import check_state
from smartmob_agent.state.database import Database, open_database
from smartmob_agent.state.history import Change
from smartmob_agent.state.schema import SCHEMA
from smartmob_agent.state.seam import StateFullError
from smartmob_agent.state.writes import PendingWrite
from tests.state.schema_two import SCHEMA_2
from tests.state.stores import contents, copy_of_used, fill, read, refusal


def put(database: Database, name: str, size: int = 3000) -> None:
    """Make a document; one of more bytes than a page, so that several pages are written."""
    (outcome,) = database.write([PendingWrite(("process", name), {"a": "x" * size}, expected=0)])
    assert isinstance(outcome, Change)


def put_many(database: Database, numbers: range) -> None:
    for number in numbers:
        put(database, f"hello.web.{number}")


@contextlib.contextmanager
def longest_file(size: int) -> Generator[None]:
    """Let no file grow beyond some bytes: EFBIG, setrlimit(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
def test_no_room_at_any_write_changes_nothing(tmp_path: Path) -> None:
    """Whichever write of a transaction it is that fails."""
    failed = 0
    for size in range(1000, 80_000, 3000):
        directory = tmp_path / str(size)
        fill(directory, 1)
        with contextlib.closing(open_database(directory, SCHEMA)) as database:
            before = database.read_all()
            with longest_file(size):
                try:
                    for number in range(3):
                        put(database, f"hello.{number}", 12_000)
                        before = database.read_all()
                except StateFullError:
                    failed += 1
            assert database.read_all() == before
            copy = tmp_path / f"{size}-killed"
            shutil.copytree(directory, copy)
            put(database, "hello.last")
            after = database.read_all()
        assert (read(copy), read(directory)) == (before, after)
    assert failed > 10


def test_a_change_without_room_is_a_507(tmp_path: Path) -> None:
    with contextlib.closing(open_database(tmp_path / "state", SCHEMA)) as database:
        with longest_file(100), pytest.raises(RequestError) as caught:
            put(database, "hello.web.0")
        assert database.read_all().documents == ()
    assert caught.value.status == 507
    assert str(caught.value).startswith("the disk does not take the change (")
    assert str(caught.value).endswith("): nothing was changed")


def test_a_start_without_room_leaves_nothing_half(tmp_path: Path) -> None:
    for size in (0, 100, 1000, 5000):
        with longest_file(size), pytest.raises(StartError, match=r"cannot (use|open)"):
            open_database(tmp_path / "state", SCHEMA)
        assert contents(tmp_path / "state") == {}
    assert read(tmp_path / "state").documents == ()


@pytest.mark.parametrize("part", [0, 0.5, 1])
def test_a_migration_without_room_changes_nothing(tmp_path: Path, part: float) -> None:
    """Neither when there is none for the backup, nor for what comes after it."""
    before = fill(tmp_path)
    size = int((tmp_path / "state.db").stat().st_size * part)
    with longest_file(size), pytest.raises(StartError, match=r"cannot (use|open)"):
        open_database(tmp_path, SCHEMA_2)
    assert not list(tmp_path.glob("*.new*"))
    assert (tmp_path / "state.db.v1").exists() == (part == 1)
    assert (check_state(tmp_path).version, read(tmp_path)) == (1, before)


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_start_needs_no_room(tmp_path: Path, size: int) -> None:
    """Not even for the shared memory, for which a check of a log asks."""
    before = copy_of_used(tmp_path / "used", tmp_path / "state")
    with longest_file(size):
        with pytest.raises(StartError, match=r"cannot check .*: its disk has no room for 32 KiB"):
            check_state(tmp_path / "state")
        database = open_database(tmp_path / "state", SCHEMA)
        assert database.read_all() == before
        with pytest.raises(StateFullError):
            put(database, "hello.web.99", 100_000)
        database.close()
    assert read(tmp_path / "state") == before


def test_what_is_damaged_is_refused_without_room_too(tmp_path: Path) -> None:
    copy_of_used(tmp_path / "used", tmp_path / "state")
    os.truncate(tmp_path / "state" / "state.db-wal", 9000)
    with longest_file(0), pytest.raises(StartError, match="which was acknowledged, found"):
        open_database(tmp_path / "state", SCHEMA)
    assert "which was acknowledged, found" in refusal(tmp_path / "state")


@pytest.mark.parametrize("size", [0, 50, 4100])
def test_a_note_without_room_is_not_half(tmp_path: Path, size: int) -> None:
    with longest_file(size), pytest.raises(OSError, match=r"space left|too large"):
        AcknowledgedFile(tmp_path / "note", "identity", 7)
    assert not (tmp_path / "note").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 512 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root mounts disks, and not everywhere")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def use_up(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_takes_nothing_away(small_disk: Path) -> None:
    """With room for so many pages more: whatever is written next has none."""
    failed = 0
    for pages in range(30):
        directory = small_disk / str(pages)
        fill(directory, 1)
        with contextlib.closing(open_database(directory, SCHEMA)) as database:
            before = database.read_all()
            use_up(small_disk)
            filler = small_disk / "filler"
            os.truncate(filler, filler.stat().st_size - 4096 * pages)
            try:
                for number in range(3):
                    put(database, f"hello.{number}", 12_000)
                    before = database.read_all()
            except StateFullError:
                failed += 1
            assert database.read_all() == before
            copy = small_disk.with_name(f"{pages}-killed")
            shutil.copytree(directory, copy)
        assert (read(copy), read(directory)) == (before, before)
        filler.unlink()
        shutil.rmtree(directory)
    assert failed > 10


def test_a_full_disk_takes_nothing_away(small_disk: Path) -> None:
    """Neither what is there nor the next start; with room it goes on."""
    database = open_database(small_disk / "state", SCHEMA)
    put(database, "hello.web.0")
    use_up(small_disk)
    with pytest.raises(StateFullError, match="database or disk is full"):
        put_many(database, range(1, 100))
    before = database.read_all()
    database.close()
    database = open_database(small_disk / "state", SCHEMA)
    assert database.read_all() == before
    with pytest.raises(StateFullError):
        put_many(database, range(100, 200))
    (small_disk / "filler").unlink()
    put(database, "hello.last")
    database.close()
    assert len(read(small_disk / "state").documents) > len(before.documents)
