"""Archives in a directory that several agents share."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smartmob_agent.source.cache import archive_dir as shelf_module
from smartmob_agent.source.cache.archive_dir import ArchiveDir
from smartmob_agent.source.cache.archive_lock import ArchiveLock
from smartmob_agent.source.cache.etags import KnownETag

KiB4 = 4096


def proceed() -> None:
    """Check nothing."""


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def open_archives(
    directory: Path, limit_bytes: int = 10 * KiB4, min_free_bytes: int = 0
) -> ArchiveDir:
    archives = ArchiveDir(
        directory=directory, limit_bytes=limit_bytes, min_free_bytes=min_free_bytes
    )
    archives.prepare()
    return archives


def keep(archives: ArchiveDir, content: bytes, *, uploaded: bool = False) -> ArchiveLock:
    part = archives.directory / "part"
    part.write_bytes(content)
    return archives.keep(part, digest_of(content), proceed, uploaded=uploaded)


def keep_only(
    archives: ArchiveDir, content: bytes, used: float = 0.0, *, uploaded: bool = False
) -> Path:
    """Keep an archive that nobody uses; used: seconds ago."""
    lock = keep(archives, content, uploaded=uploaded)
    lock.release()
    then = time.time() - used
    os.utime(lock.path, (then, then))
    return lock.path


@pytest.mark.parametrize("uploaded", [False, True])
def test_what_was_kept_is_found(tmp_path: Path, *, uploaded: bool) -> None:
    """By every agent, until it is removed; its part is gone."""
    one, other = open_archives(tmp_path), open_archives(tmp_path)
    lock = keep(one, b"a", uploaded=uploaded)
    found = other.find(digest_of(b"a"), proceed)
    assert found is not None
    assert (found.path, found.path.read_bytes(), found.exists) == (lock.path, b"a", True)
    assert not (tmp_path / "part").exists()
    assert other.find(digest_of(b"b"), proceed) is None
    lock.path.unlink()
    assert not found.exists
    lock.release()
    found.release()


def test_what_is_there_is_kept_once(tmp_path: Path) -> None:
    """Two agents may download the same at the same time."""
    archives = open_archives(tmp_path)
    one, other = keep(archives, b"a"), keep(archives, b"a")
    assert (one.path, one.exists, other.exists) == (other.path, True, True)
    one.release()
    other.release()


def test_a_damaged_archive_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is removed when it is found, and replaced by one that is whole."""
    archives = open_archives(tmp_path)
    path = keep_only(archives, b"whole")
    path.write_bytes(b"who")
    lock = keep(archives, b"whole")
    assert (lock.path, path.read_bytes()) == (path, b"whole")
    lock.release()
    path.write_bytes(b"who")
    assert archives.find(path.name, proceed) is None
    assert not path.exists()
    assert [record.message for record in caplog.records] == ["removed a damaged archive"] * 2


def test_the_least_recently_used_archive_goes(tmp_path: Path) -> None:
    """Finding is using; what is held stays, and goes when it is too much."""
    archives = open_archives(tmp_path, limit_bytes=2 * KiB4)
    a, b, c = (keep_only(archives, x, used=30 - n) for n, x in enumerate((b"a", b"b", b"c")))
    lock = archives.find(a.name, proceed)
    assert lock is not None
    archives.trim()
    assert (a.exists(), b.exists(), c.exists(), archives.full) == (True, False, True, False)
    small = open_archives(tmp_path, limit_bytes=1)
    small.trim()
    assert (a.exists(), c.exists(), small.full) == (True, False, True)
    lock.release()
    small.trim()
    assert (a.exists(), small.full) == (False, False)


def test_archives_go_when_the_disk_has_too_little_room(tmp_path: Path) -> None:
    archives = open_archives(tmp_path, min_free_bytes=1 << 62)
    path = keep_only(archives, b"a")
    archives.trim()
    assert not path.exists()


def test_a_full_disk_costs_what_can_be_downloaded_again(tmp_path: Path) -> None:
    """Not uploads, and not what is held."""
    archives = open_archives(tmp_path)
    a, b = keep_only(archives, b"a"), keep_only(archives, b"b", uploaded=True)
    lock = keep(archives, b"c")
    archives.make_room()
    assert (a.exists(), b.exists(), lock.exists) == (False, True, True)
    lock.release()


def test_there_are_not_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones would cost time, though they have room."""
    monkeypatch.setattr(shelf_module, "MAX_FILES", 2)
    archives = open_archives(tmp_path)
    paths = [keep_only(archives, bytes([n]), used=30 - n) for n in range(4)]
    for n, path in enumerate(paths):
        known = KnownETag(sha256=path.name, etag=f'"{n}"')
        archives.remember(f"http://h/{n}", known, tmp_path / "scratch")
        archives.remember(f"http://other/{n}", known, tmp_path / "scratch")
    archives.trim()
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert len(list((tmp_path / "urls").iterdir())) <= 2


def test_uploads_go_when_nobody_has_used_them(tmp_path: Path) -> None:
    archives = open_archives(tmp_path)
    old, new = (keep_only(archives, x, used=n, uploaded=True) for x, n in ((b"a", 100), (b"b", 10)))
    [(one, one_unused), (other, other_unused)] = archives.uploads()
    assert (one, other) == (old.name, new.name)
    assert (round(one_unused), round(other_unused)) == (100, 10)
    assert round(archives.expire(new.name, 50)) == 40
    lock = archives.find(old.name, proceed)
    assert lock is not None
    os.utime(old, (0, 0))
    assert archives.expire(old.name, 50) == 50
    lock.release()
    assert [archives.expire(name, 50) for name in (old.name, digest_of(b"c"))] == [0, 0]
    assert (old.exists(), new.exists()) == (False, True)


def test_a_note_goes_with_its_archive(tmp_path: Path) -> None:
    """What cannot be read counts as none; no URL is on the disk."""
    archives = open_archives(tmp_path)
    path = keep_only(archives, b"a")
    url, known = "http://user:secret@h/", KnownETag(sha256=path.name, etag='"é"')
    archives.remember(url, known, tmp_path / "scratch")
    archives.trim()
    assert (archives.recall(url), archives.recall("http://h/")) == (known, None)
    [file] = (tmp_path / "urls").iterdir()
    file.write_bytes(b"\xff")
    assert archives.recall(url) is None
    file.write_text("damaged")
    assert archives.recall(url) is None
    archives.remember(url, known, tmp_path / "scratch")
    path.unlink()
    archives.trim()
    assert list((tmp_path / "urls").iterdir()) == []


def test_what_is_no_archive_is_left_alone(tmp_path: Path) -> None:
    archives = open_archives(tmp_path, limit_bytes=1)
    (tmp_path / "downloads" / "README").write_bytes(bytes(10 * KiB4))
    archives.trim()
    assert (tmp_path / "downloads" / "README").exists()


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """They could put anything under any name."""
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads").chmod(0o777)
    with pytest.raises(PermissionError, match="nobody else may write"):
        open_archives(tmp_path)


CONTENTS = st.sampled_from([bytes([n]) * (n + 1) * 1000 for n in range(6)])


class TwoAgents(RuleBasedStateMachine):
    """Two agents on one directory, against a model: which locks and which files there are."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.directory = Path(self.temporary.name)
        self.agents = [open_archives(self.directory, limit_bytes=4 * KiB4) for _ in range(2)]
        self.locks: list[ArchiveLock] = []
        self.known: set[str] = set()

    @rule(agent=st.integers(0, 1), content=CONTENTS, uploaded=st.booleans())
    def create(self, agent: int, content: bytes, *, uploaded: bool) -> None:
        self.locks.append(keep(self.agents[agent], content, uploaded=uploaded))
        self.known.add(digest_of(content))
        self.agents[agent].trim()

    @rule(agent=st.integers(0, 1), content=CONTENTS)
    def hit(self, agent: int, content: bytes) -> None:
        lock = self.agents[agent].find(digest_of(content), proceed)
        assert lock is None or digest_of(content) in self.known
        if lock is not None:
            self.locks.append(lock)

    @rule(agent=st.integers(0, 1), size=st.integers(0, 5999), content=CONTENTS)
    def be_killed_in_the_middle(self, agent: int, size: int, content: bytes) -> None:
        """What it wrote so far stays, and the next agent begins in the same place."""
        (self.directory / "part").write_bytes(content[:size])
        self.agents[agent] = open_archives(self.directory, limit_bytes=4 * KiB4)

    @precondition(lambda self: self.locks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.locks.pop(data.draw(st.integers(0, len(self.locks) - 1))).release()

    @rule(agent=st.integers(0, 1))
    def evict(self, agent: int) -> None:
        archives = self.agents[agent]
        archives.trim()
        if not self.locks:
            assert sum(path.stat().st_size for path in self.archives()) <= 4 * KiB4

    @rule(agent=st.integers(0, 1))
    def fill_the_disk(self, agent: int) -> None:
        self.agents[agent].make_room()

    @rule(agent=st.integers(0, 1), content=CONTENTS)
    def expire(self, agent: int, content: bytes) -> None:
        self.agents[agent].expire(digest_of(content), 0)

    @invariant()
    def what_is_there_is_whole(self) -> None:
        for path in self.archives():
            assert digest_of(path.read_bytes()) == path.name

    @invariant()
    def what_is_held_is_there(self) -> None:
        assert all(lock.exists for lock in self.locks)

    def archives(self) -> list[Path]:
        return [*self.directory.glob("downloads/*"), *self.directory.glob("uploads/*")]

    def teardown(self) -> None:
        for lock in self.locks:
            lock.release()
        self.temporary.cleanup()


TwoAgents.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_two_agents_on_one_directory = pytest.mark.slow(TwoAgents.TestCase)
