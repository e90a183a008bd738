"""A file that was cut, spoiled or lost is refused, or nothing of it is missing."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from smartmob_agent.errors import StartError
from smartmob_agent.state.check import check_state
from smartmob_agent.state.database import open_database
from smartmob_agent.state.schema import SCHEMA
from smartmob_agent.state.seam import StateSnapshot
from smartmob_agent.state.values import decode
from smartmob_agent.state.verify import look
from smartmob_agent.state.writes import PendingWrite
from tests.state.stores import contents, copy_of_used, fill, read, refusal

FILES = ["state.db", "state.db-wal", "state.acknowledged"]


def is_refused(directory: Path, expected: StateSnapshot) -> bool:
    """Whether the state is refused, untouched; else it is complete."""
    before = contents(directory)
    try:
        found = read(directory)
    except StartError:
        assert contents(directory) == before
        with pytest.raises(StartError):
            check_state(directory)
        return True
    assert found == expected
    return False


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StateSnapshot]:
    """The directory of a killed agent, and what it had acknowledged."""
    directory = tmp_path_factory.mktemp("used")
    return directory / "copy", copy_of_used(directory / "state", directory / "copy")


def test_a_killed_agent_leaves_all_that_it_has_acknowledged(
    killed: tuple[Path, StateSnapshot], tmp_path: Path
) -> None:
    shutil.copytree(killed[0], tmp_path / "state")
    assert {*contents(tmp_path / "state")} == {*FILES}
    assert not is_refused(tmp_path / "state", killed[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_cut_is_refused_or_complete(
    killed: tuple[Path, StateSnapshot], tmp_path: Path, name: str
) -> None:
    """At every 512th byte, and beside it."""
    size = (killed[0] / name).stat().st_size
    refused = 0
    for start in range(0, size, 512):
        for offset in (start, start + 1) if start < 2048 else (start,):
            directory = tmp_path / str(offset)
            shutil.copytree(killed[0], directory)
            os.truncate(directory / name, offset)
            refused += is_refused(directory, killed[1])
            shutil.rmtree(directory)
    assert refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_wrong_bit_is_refused_or_complete(
    killed: tuple[Path, StateSnapshot], tmp_path: Path, name: str
) -> None:
    choose = random.Random(name)
    content = (killed[0] / name).read_bytes()
    for number in range(150):
        directory = tmp_path / str(number)
        shutil.copytree(killed[0], directory)
        spoiled = bytearray(content)
        # The beginning says what the rest means.
        end = len(content) if number % 3 else 200
        spoiled[choose.randrange(end)] ^= 1 << choose.randrange(8)
        (directory / name).write_bytes(spoiled)
        is_refused(directory, killed[1])
        shutil.rmtree(directory)


def test_each_bit_of_a_document_counts(tmp_path: Path) -> None:
    """SQLite itself would not notice."""
    fill(tmp_path, 3)
    path = tmp_path / "state.db"
    path.write_bytes(path.read_bytes().replace(b'{"n":1,', b'{"n":3,'))
    assert refusal(tmp_path) == (
        f"{path} is damaged (a wrong checksum of process/hello.web.1): restore the whole directory "
        "from a backup, or move it away to start with no processes"
    )


def test_a_lost_log_is_noticed(killed: tuple[Path, StateSnapshot], tmp_path: Path) -> None:
    shutil.copytree(killed[0], tmp_path / "state")
    (tmp_path / "state" / "state.db-wal").unlink()
    message = refusal(tmp_path / "state")
    assert message.startswith("expected revision 49 in ")
    assert ", which was acknowledged, found 30: restore the whole directory" in message


def test_a_file_that_was_copied_alone_is_refused(
    killed: tuple[Path, StateSnapshot], tmp_path: Path
) -> None:
    """From an agent that used it: the log is missing, and all that would tell."""
    (tmp_path / "state").mkdir(mode=0o700)
    shutil.copy(killed[0] / "state.db", tmp_path / "state")
    assert "is a copy that was made while an agent used it" in refusal(tmp_path / "state")


def test_a_file_that_was_closed_is_complete_in_itself(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir(mode=0o700)
    expected = fill(tmp_path / "state")
    assert {*contents(tmp_path / "state")} == {"state.db", "state.acknowledged"}
    shutil.copy(tmp_path / "state" / "state.db", tmp_path / "copy")
    assert read(tmp_path / "copy") == expected


def test_an_older_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """Unless whoever has put it there says that it is meant."""
    older = fill(tmp_path, 3)
    shutil.copy(tmp_path / "state.db", tmp_path / "older")
    fill_more(tmp_path)
    shutil.copy(tmp_path / "older", tmp_path / "state.db")
    acknowledged = tmp_path / "state.acknowledged"
    assert refusal(tmp_path).endswith(f"remove {acknowledged} if you have restored an older file")
    acknowledged.unlink()
    assert read(tmp_path) == older


def fill_more(directory: Path) -> None:
    database = open_database(directory, SCHEMA)
    database.write([PendingWrite(("process", "more"), {}, expected=0)])
    database.close()


def test_the_file_of_another_agent_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "one", 3)
    fill(tmp_path / "other", 5)
    shutil.copy(tmp_path / "other" / "state.db", tmp_path / "one")
    assert "is not the file to which" in refusal(tmp_path / "one")


def with_sql(*statements: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    return spoil


def make_journal(path: Path) -> None:
    path.with_name("state.db-journal").write_bytes(b"")


def replace(old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new))

    return spoil


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is damaged (it is empty): "),
    "text": (
        lambda path: path.write_bytes(b"text" * 1000),
        "is damaged (it does not begin like a database)",
    ),
    "newer": (
        with_sql("PRAGMA user_version = 2"),
        "to have a version up to 1, found version 2, which a newer agent has written: start that",
    ),
    "no version": (with_sql("PRAGMA user_version = 0"), "is no state of an agent, or a damaged"),
    "foreign": (with_sql("PRAGMA application_id = 7"), "(application 0x7, version 1)"),
    "another table": (with_sql("CREATE TABLE a (b)"), "its tables are not those of version 1"),
    "no table": (with_sql("DROP TABLE meta"), "its tables are not those of version 1"),
    "no meta": (with_sql("DELETE FROM meta"), "0 rows in the table meta"),
    "wrong type": (with_sql("UPDATE meta SET revision = 'a'"), "a wrong type in the table meta"),
    "wrong meta": (with_sql("UPDATE meta SET revision = 9"), "a wrong checksum in the table meta"),
    "a row less": (
        with_sql("DELETE FROM documents WHERE name = 'hello.web.1'"),
        "documents are missing or too many",
    ),
    "no UTF-8 in a name": (replace(b"TABLE meta", b"T\xffBLE meta"), "is damaged ("),
    "no UTF-8 in a column": (replace(b"closed INT", b"clos\xff\xff INT"), "is damaged ("),
    "no UTF-8 in a value": (replace(b'"n":1', b'"n\xff:1'), "a wrong checksum of"),
    "a journal": (make_journal, "state.db-journal is beside it, which no agent writes"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_file_is_refused_with_what_to_do(tmp_path: Path, what: str) -> None:
    spoil, message = BAD_FILES[what]
    fill(tmp_path, 3)
    spoil(tmp_path / "state.db")
    found = refusal(tmp_path)
    assert message in found
    assert str(tmp_path / "state.db") in found


@pytest.mark.parametrize("left", ["state.db-wal", "state.acknowledged", "state.db.v1"])
def test_a_missing_file_is_not_replaced_by_an_empty_one(tmp_path: Path, left: str) -> None:
    """Where something is left of it."""
    tmp_path.chmod(0o700)
    (tmp_path / left).write_bytes(b"")
    assert refusal(tmp_path) == (
        f"{tmp_path}/state.db is missing, though {left} is there: restore the whole directory from "
        "a backup, or move it away to start with no processes"
    )


def test_a_first_start_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for name in ("state.db.new", "state.db.new-journal", "state.acknowledged.new"):
        (tmp_path / name).write_bytes(b"half")
    assert len(fill(tmp_path, 1).documents) == 1
    assert {*contents(tmp_path)} == {"state.db", "state.acknowledged"}


def test_a_first_start_that_cannot_begin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state" / "state.db.new").mkdir(parents=True)
    (tmp_path / "state").chmod(0o700)
    with pytest.raises(StartError, match=r"cannot open the state in .*/state: Is a directory"):
        read(tmp_path / "state")


def test_a_file_that_vanishes_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot read the state in .*: No such file"):
        look(tmp_path / "state.db", SCHEMA)


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, "{"])
def test_a_text_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(exp|Exp)ect"):
        decode(text)


def test_one_spoiled_note_of_two_is_enough(tmp_path: Path) -> None:
    """A power cut can spoil the one that is being written."""
    expected = fill(tmp_path, 3)
    path = tmp_path / "state.acknowledged"
    content = path.read_bytes()
    path.write_bytes(bytes(4096) + content[4096:])
    assert read(tmp_path) == expected
    path.write_bytes(bytes(len(content)))
    assert f"{path} is damaged, so nobody knows whether" in refusal(tmp_path)
