"""Names that some file systems take for one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import UnpackError
from smartmob_agent.source.archive.budget import Budget, CaseCollisions, folds_names
from smartmob_agent.source.archive.extract import open_extraction
from smartmob_agent.source.archive.members import Member, MemberKind
from tests.source.archives import Entry, make_tar, symlink

from .unpacking import tree, unpack_bytes


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Procfile", "PROCFILE"),
        ("a/b", "A/b"),
        ("é", "É"),
        ("é", "e\u0301"),
        ("straße", "STRASSE"),
        ("Å", "\u212b"),
    ],
)
def test_names_that_collide_are_refused(first: str, second: str) -> None:
    names = CaseCollisions()
    names.use(first)
    with pytest.raises(
        UnpackError, match="differs from an earlier member's name only in case"
    ) as info:
        names.use(second)
    assert str(info.value).startswith(repr(second))


def test_other_names_are_not() -> None:
    """Nor is the same one, which is a duplicate or a directory that comes twice."""
    names = CaseCollisions()
    for path in ("a", "b", "a/b", "ab", "ä", "a"):
        names.use(path)


COLLIDING = [
    (Entry("Procfile"), Entry("PROCFILE")),
    (Entry("Lib/a"), Entry("lib/b")),
    (symlink("L", "a"), Entry("l/b")),
    (Entry("é"), Entry("e\u0301")),
]


@pytest.mark.parametrize("entries", COLLIDING)
def test_names_are_files_of_their_own_where_the_disk_keeps_them_apart(
    tmp_path: Path, entries: tuple[Entry, Entry]
) -> None:
    """As in the headers of Linux itself; nothing of the look at the disk is left."""
    app = unpack_bytes(make_tar(*entries), tmp_path, SourceLimits())
    assert {entry.name for entry in entries} <= set(tree(app))
    tops = {entry.name.partition("/")[0] for entry in entries}
    assert {name.partition("/")[0] for name in tree(app)} == tops


@pytest.mark.parametrize(("first", "second"), [("Procfile", "PROCFILE"), ("Lib/a", "lib/b")])
def test_members_that_collide_are_refused_where_the_disk_folds_names(
    tmp_path: Path, first: str, second: str
) -> None:
    """Files, and directories that are only implied; the first of them stays."""
    limits = SourceLimits(min_free_bytes=0)
    budget = Budget(limits=limits, archive_bytes=0)
    with open_extraction(tmp_path, limits, budget, lambda: None) as app:
        app.names = CaseCollisions()
        app.add(Member(name=first, kind=MemberKind.FILE, mode=None), [])
        with pytest.raises(UnpackError, match="differs from an earlier member's name only in case"):
            app.add(Member(name=second, kind=MemberKind.FILE, mode=None), [])
    assert first in tree(tmp_path)


@pytest.fixture
def folding(tmp_path: Path) -> Iterator[int]:
    """A directory in which a file is found by another spelling of its name, as far as is looked."""
    (tmp_path / "éA").touch()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_disk_is_asked_whether_it_folds_names(tmp_path: Path, folding: int) -> None:
    """Also one on which nothing can be made: there the careful answer holds."""
    assert folds_names(folding)
    (tmp_path / "éA").unlink()
    assert not folds_names(folding)
    assert [*tmp_path.iterdir()] == []
    fd = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    assert folds_names(fd)
    os.close(fd)


def test_where_the_disk_folds_names_twins_are_refused(tmp_path: Path, folding: int) -> None:
    """Files and directories."""
    limits = SourceLimits()
    budget = Budget(limits=limits, archive_bytes=1000)
    with open_extraction(tmp_path, limits, budget, lambda: None) as extraction:
        extraction.add(Member(name="a/b", kind=MemberKind.FILE, mode=None), [b""])
        for name in ("A/c", "a/B"):
            with pytest.raises(UnpackError, match="differs from an earlier member's name only in"):
                extraction.add(Member(name=name, kind=MemberKind.FILE, mode=None), [b""])
