"""Removal of what apps leave."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smartmob_agent.source.disk.rmtree import remove_tree


def proceed() -> None:
    """Check nothing."""


def test_a_tree_is_removed(tmp_path: Path) -> None:
    """Whatever is in it; again is no error."""
    app = tmp_path / "app"
    (app / "a" / "b").mkdir(parents=True)
    (app / "a" / "b" / "file").touch()
    os.mkfifo(app / "a" / "fifo")
    remove_tree(app, proceed)
    remove_tree(app, proceed)
    assert list(tmp_path.iterdir()) == []


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    """Wherever they lead; also when the directory itself became one."""
    outside, app = tmp_path / "outside", tmp_path / "app"
    (outside / "directory").mkdir(parents=True, mode=0o500)
    (app / "a").mkdir(parents=True)
    for directory in (app, app / "a"):
        (directory / "link").symlink_to(outside)
        (directory / "directory").symlink_to(outside / "directory")
    remove_tree(app, proceed)
    app.symlink_to(outside)
    remove_tree(app, proceed)
    assert list(tmp_path.iterdir()) == [outside]
    assert stat.S_IMODE((outside / "directory").stat().st_mode) == 0o500


AS_SOMEBODY = """
import os, sys
from pathlib import Path
from smartmob_agent.source.disk.rmtree import remove_tree

os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
app = Path("app")
(app / "a" / "b" / "c").mkdir(parents=True)
(app / "a" / "b" / "file").touch()
for directory in (app / "a" / "b" / "c", app / "a" / "b", app / "a", app):
    directory.chmod(0)
remove_tree(app, lambda: None)
"""


@pytest.mark.slow
def test_directories_without_permissions_are_removed(tmp_path: Path) -> None:
    """By their owner, who need not be root: tried in a child as somebody else."""
    tmp_path.chmod(0o777)
    subprocess.run([sys.executable, "-c", AS_SOMEBODY, tmp_path], check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    """Deeper than a path can say, than recursion goes and than there are descriptors."""
    top = tmp_path / "app"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        remove_tree(top, proceed)
        assert not top.exists()
    finally:  # else pytest would stumble over it, next time
        subprocess.run(["rm", "-rf", top], check=True)


@contextlib.contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Only so many more can be opened: a disk error that anybody can make."""
    free = [os.dup(0) for _ in range(count + 1)]
    for fd in free:
        os.close(fd)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_cannot_be_removed_is_told_and_the_rest_is_gone(tmp_path: Path) -> None:
    """The error is that of what is left, not of the directory around it."""
    (tmp_path / "app" / "a").mkdir(parents=True)
    (tmp_path / "app" / "b").touch()
    with pytest.raises(OSError, match="Too many open files"), few_descriptors(2):
        remove_tree(tmp_path / "app", proceed)
    assert list((tmp_path / "app").iterdir()) == [tmp_path / "app" / "a"]


def test_a_check_ends_it(tmp_path: Path) -> None:
    """What it raises comes through, and the rest stays."""
    (tmp_path / "app" / "a").mkdir(parents=True)

    def check() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        remove_tree(tmp_path / "app", check)
    assert (tmp_path / "app").exists()
