"""The agent's directory, and those of dead agents."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from smartmob_agent.source.disk.owned_dir import PREFIX, open_owned_dir, remove_dead


def proceed() -> None:
    """Check nothing."""


def test_what_a_dead_agent_left_is_removed(tmp_path: Path) -> None:
    """Its directory has the name and no lock; the living and others keep theirs."""
    dead, other = tmp_path / f"{PREFIX}dead", tmp_path / "other"
    (dead / "app").mkdir(parents=True)
    other.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(other)
    (tmp_path / f"{PREFIX}file").touch()
    with open_owned_dir(tmp_path) as one, open_owned_dir(tmp_path) as two:
        remove_dead(tmp_path, proceed)
        assert not dead.exists()
        assert {one, two, other} < set(tmp_path.iterdir())
        assert one.stat().st_mode & 0o777 == 0o700
    remove_dead(tmp_path, proceed)
    assert not {one, two} & set(tmp_path.iterdir())


def test_directories_of_other_users_are_left_alone(tmp_path: Path) -> None:
    """In a directory for temporary files all users meet."""
    theirs = tmp_path / f"{PREFIX}theirs"
    theirs.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can make a directory of another user")
    os.chown(theirs, 65534, 65534)
    remove_dead(tmp_path, proceed)
    assert theirs.exists()


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_two_agents_may_clean_up_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the other one has removed meanwhile is no error."""
    for name in ("1", "2"):
        (tmp_path / f"{PREFIX}{name}" / "app").mkdir(parents=True)

    def act_as_the_other() -> None:
        for path in tmp_path.iterdir():
            if not is_locked(path):
                shutil.rmtree(path)

    remove_dead(tmp_path, act_as_the_other)
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []


@pytest.mark.parametrize("other", ["locks", "removes"])
def test_a_directory_that_another_agent_takes_for_dead_is_not_used(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between being made and being locked it looks as if its agent were dead."""
    mkdtemp = tempfile.mkdtemp
    taken: list[str] = []
    with contextlib.ExitStack() as stack:

        def interrupted(prefix: str, dir: Path) -> str:  # noqa: A002
            path = mkdtemp(prefix=prefix, dir=dir)
            if not taken:
                taken.append(path)
                fd = os.open(path, os.O_RDONLY)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if other == "removes":
                    Path(path).rmdir()
            return path

        monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
        with open_owned_dir(tmp_path) as path:
            assert str(path) not in taken
            assert is_locked(path)


def test_what_cannot_be_removed_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An agent starts all the same."""
    (tmp_path / f"{PREFIX}dead").mkdir()
    (tmp_path / f"{PREFIX}dead" / "file").touch()

    def check() -> None:
        raise PermissionError(1, "not permitted")

    remove_dead(tmp_path, check)
    assert [record.message for record in caplog.records] == ["cannot remove"]
    assert caplog.records[0].levelno == logging.WARNING
