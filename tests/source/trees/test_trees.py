"""Trees on a real disk: copies, what is kept, what is removed, what is damaged."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from smartmob_agent.config.settings import Cache
from smartmob_agent.errors import TransientError, UnpackError
from smartmob_agent.source.cache.seam import ArchiveCache
from smartmob_agent.source.trees import copy as copying, tree_dir
from smartmob_agent.source.trees.copy import MAX_DEPTH, Tally, copy_tree
from smartmob_agent.source.trees.seam import ScratchTree
from smartmob_agent.source.trees.settle import move_texts, settle_tree
from smartmob_agent.source.trees.tree_dir import TreeDir
from tests.source.caches import open_disk_cache

KEY = "a" * 64
OTHER = "b" * 64


def nothing() -> None:
    """Check nothing."""


def make_tree(root: Path) -> None:
    (root / "dir" / "inner").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "small").write_bytes(b"small")
    (root / "nothing").touch()
    (root / "dir" / "large").write_bytes(os.urandom(1024 * 1024))
    (root / "dir" / "program").write_text("#!/bin/sh\n")
    (root / "dir" / "program").chmod(0o4755)
    (root / "link").symlink_to("dir/program")
    (root / "out").symlink_to("/etc/passwd")
    (root / "dir" / "inner" / "old").write_bytes(b"old")
    os.utime(root / "dir" / "inner" / "old", ns=(1, 2))


def copied(source: Path, target: Path) -> Tally:
    return copy_tree(source, target, check=nothing, take=lambda _size: None)


@pytest.mark.parametrize("small", [0, 128 * 1024])
def test_a_copy_is_the_same_and_shares_nothing(
    tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links as links; times of change, so that Python's bytecode stays valid; no set-user-ID."""
    monkeypatch.setattr(copying, "SMALL_BYTES", small or 1)
    source, target = tmp_path / "source", tmp_path / "target"
    make_tree(source)
    os.mkfifo(source / "pipe")
    tally = copied(source, target)
    assert tally == Tally(entries=10, content_bytes=5 + 1024 * 1024 + 10 + 3)
    (source / "pipe").unlink()
    subprocess.run(["diff", "-r", "--no-dereference", source, target], check=True)
    assert (target / "link").readlink() == Path("dir/program")
    program, old = (target / "dir" / "program").stat(), (target / "dir" / "inner" / "old").stat()
    assert stat.S_IMODE(program.st_mode) == 0o755
    assert old.st_mtime_ns == 2
    assert {path.stat().st_nlink for path in target.rglob("*") if path.is_file()} == {1}


def test_a_copy_takes_its_space_beforehand(tmp_path: Path) -> None:
    make_tree(tmp_path / "source")

    def take(size: int) -> None:
        if size > 1000:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        copy_tree(tmp_path / "source", tmp_path / "target", check=nothing, take=take)


def test_a_copy_of_too_deep_a_tree_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.joinpath(*"d" * (MAX_DEPTH + 2)).mkdir(parents=True)
    with pytest.raises(OSError, match="at most 200 directories"):
        copied(path, tmp_path / "target")
    with pytest.raises(OSError, match="at most 200 directories"):
        settle_tree(path, nothing)


def test_a_disk_that_clones_is_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that does not is asked once."""
    asked = []

    def ioctl(target: int, request: int, source: int) -> None:
        assert request == copying.FICLONE
        asked.append(source)
        if len(asked) == 3:
            raise OSError(errno.EOPNOTSUPP, "no")
        os.write(target, os.read(source, 2 * 1024 * 1024))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    make_tree(tmp_path / "source")
    assert copied(tmp_path / "source", tmp_path / "target") == copied(
        tmp_path / "source", tmp_path / "other"
    )
    assert len(asked) in {3, 3 + 4}
    subprocess.run(["diff", "-r", "--no-dereference", tmp_path / "source", tmp_path / "target"])


@pytest.mark.parametrize("module_call", ["clone", "piece"])
def test_other_errors_of_the_disk_are_errors(
    tmp_path: Path, module_call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.EIO, "broken")

    if module_call == "clone":
        monkeypatch.setattr(fcntl, "ioctl", fail)
    else:
        monkeypatch.setattr(os, "copy_file_range", fail)
    make_tree(tmp_path / "source")
    with pytest.raises(OSError, match="broken"):
        copied(tmp_path / "source", tmp_path / "target")


def test_a_kernel_without_copy_file_range_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.ENOSYS, "no")

    monkeypatch.setattr(os, "copy_file_range", fail)
    make_tree(tmp_path / "source")
    copied(tmp_path / "source", tmp_path / "target")
    subprocess.run(
        ["diff", "-r", "--no-dereference", tmp_path / "source", tmp_path / "target"], check=True
    )


def test_a_reflink_shares_blocks(tmp_path: Path) -> None:
    """On a disk that has it: Btrfs, in a file."""
    mkfs = shutil.which("mkfs.btrfs") or shutil.which("mkfs.xfs")
    if os.geteuid() != 0 or mkfs is None:
        pytest.skip("needs root, and mkfs.btrfs or mkfs.xfs")
    image, mount = tmp_path / "image", tmp_path / "mount"
    image.write_bytes(b"")
    os.truncate(image, 512 * 1024 * 1024)
    mount.mkdir()
    subprocess.run([mkfs, "-q", image], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True).returncode:
        pytest.skip("cannot mount")
    try:
        (mount / "source").mkdir()
        (mount / "source" / "file").write_bytes(os.urandom(100 * 1024 * 1024))
        taken: list[int] = []
        copy_tree(mount / "source", mount / "target", check=nothing, take=taken.append)
        assert taken == []
        assert (mount / "target" / "file").stat().st_size == 100 * 1024 * 1024
    finally:
        subprocess.run(["umount", mount], check=True)


def test_what_a_build_left_is_brought_into_form(tmp_path: Path) -> None:
    tree = (tmp_path / "tree").resolve()
    make_tree(tree)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tree / "socket"))
    (tree / "locked").mkdir()
    (tree / "locked" / "file").write_bytes(b"x")
    (tree / "locked" / "file").chmod(0)
    (tree / "locked").chmod(0)
    (tree / "script").write_text(f"#!{tree}/bin/python\n")
    (tree / "data").write_bytes(f"\0{tree}\n".encode())
    (tree / "module.pyc").write_text(f"{tree}\n")
    (tree / "dir" / "absolute").symlink_to(tree / "script")
    (tree / "self").symlink_to(tree)
    settled = settle_tree(tree, nothing)
    assert settled.texts == ["script"]
    assert not (tree / "socket").exists()
    assert (tree / "locked" / "file").read_bytes() == b"x"
    assert (tree / "dir" / "absolute").readlink() == Path("../script")
    assert (tree / "self").readlink() == Path()
    assert (tree / "out").readlink() == Path("/etc/passwd")
    assert settled.tally == copied(tree, tmp_path / "copy")
    move_texts(settled.texts, tmp_path / "copy", str(tree))
    assert (tmp_path / "copy" / "script").read_text() == f"#!{tmp_path}/copy/bin/python\n"


def test_a_link_in_the_place_of_a_tree_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tree").symlink_to("/etc")
    before = stat.S_IMODE(Path("/etc").stat().st_mode)
    with pytest.raises(NotADirectoryError):
        settle_tree(tmp_path / "tree", nothing)
    assert stat.S_IMODE(Path("/etc").stat().st_mode) == before


def left_of_agents(directory: Path) -> list[Path]:
    return list(directory.glob("smartmob-agent-*"))


@asynccontextmanager
async def opened(
    path: Path, limits: Cache | None = None
) -> AsyncIterator[tuple[ArchiveCache, ScratchTree]]:
    async with open_disk_cache(path, limits) as cache:
        yield cache, await cache.trees.open_scratch()


async def test_a_tree_is_kept_under_its_key(tmp_path: Path) -> None:
    """Also for the next agent."""
    async with opened(tmp_path) as (cache, scratch):
        make_tree(scratch.app)
        (scratch.env / "NAME").write_bytes(b"value\n")
        assert await scratch.read_env() == {"NAME": b"value\n"}
        assert await cache.trees.find(KEY) is None
        held = await scratch.keep(KEY, {"builder": "x"})
        await scratch.remove()
        assert held.record["builder"] == "x"
        assert held.record["tally"]["entries"] == 10
        assert (held.path / "small").read_bytes() == b"small"
        await held.release()
    async with open_disk_cache(tmp_path) as cache:
        found = await cache.trees.find(KEY)
        assert found is not None
        assert found.record["builder"] == "x"
        await found.release()
    assert left_of_agents(tmp_path) == []


async def test_whoever_comes_second_takes_what_is_there(tmp_path: Path) -> None:
    """As two agents with one cache directory do."""
    async with opened(tmp_path) as (cache, first):
        second = await cache.trees.open_scratch()
        for number, scratch in enumerate((first, second)):
            scratch.app.mkdir()
            (scratch.app / "number").write_text(str(number))
        held = [await scratch.keep(KEY, {}) for scratch in (first, second)]
        assert [(one.path / "number").read_text() for one in held] == ["0", "0"]
        for one in held:
            await one.release()


async def test_the_least_recently_used_goes_unless_it_is_in_use(tmp_path: Path) -> None:
    """Trees and archives share the limit."""
    async with opened(tmp_path, Cache(cache_bytes=100_000)) as (cache, scratch):
        part = cache.make_part()
        await part.write(b"x" * 50_000)
        await (await part.keep("c" * 64)).release()
        os.utime(tmp_path / "downloads" / ("c" * 64), (1, 1))
        scratch.app.mkdir()
        (scratch.app / "file").write_bytes(b"x" * 60_000)
        held = await scratch.keep(KEY, {})
        assert list((tmp_path / "downloads").iterdir()) == []
        second = await cache.trees.open_scratch()
        second.app.mkdir()
        (second.app / "file").write_bytes(b"x" * 60_000)
        other = await second.keep(OTHER, {})
        assert {path.name for path in (tmp_path / "builds").iterdir()} == {KEY, OTHER}
        await held.release()
        await cache.make_room()
        assert {path.name for path in (tmp_path / "builds").iterdir()} == {OTHER}
        await other.release()


async def test_a_damaged_tree_is_found_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as (cache, scratch):
        scratch.app.mkdir()
        await (await scratch.keep(KEY, {})).release()
        (tmp_path / "builds" / KEY / "record.json").write_text("{")
        with caplog.at_level(logging.WARNING):
            assert await cache.trees.find(KEY) is None
        assert "removed a damaged build" in caplog.messages
        assert list((tmp_path / "builds").iterdir()) == []


async def test_a_tree_that_is_given_up_is_gone_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (cache, scratch):
        scratch.app.mkdir()
        held = await scratch.keep(KEY, {})
        await held.discard()
        await held.discard()
        assert list((tmp_path / "builds").iterdir()) == []
        await held.release()
        assert await cache.trees.find(KEY) is None


@pytest.mark.parametrize("content", ["link", "directory", "many", "long"])
async def test_what_is_no_variable_is_refused(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_dir, "ENV_FILES", 3)
    async with opened(tmp_path) as (_, scratch):
        if content == "link":
            (scratch.env / "A").symlink_to("/etc/passwd")
        elif content == "directory":
            (scratch.env / "A").mkdir()
        elif content == "many":
            for name in "ABCD":
                (scratch.env / name).touch()
        else:
            (scratch.env / "A").write_bytes(b"x" * 65537)
        with pytest.raises(UnpackError, match="ENV_DIR: "):
            await scratch.read_env()


async def test_a_build_that_removed_its_directory_is_to_blame(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, scratch):
        with pytest.raises(UnpackError, match="APP_DIR: No such file"):
            await scratch.keep(KEY, {})


async def test_a_full_disk_is_nobodys_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    async with opened(tmp_path) as (_, scratch):
        scratch.app.mkdir()
        monkeypatch.setattr(tree_dir, "settle_tree", fail)
        with pytest.raises(TransientError, match="cannot keep the build: full"):
            await scratch.keep(KEY, {})


async def test_a_tool_has_its_own_cache_and_nobody_waits(tmp_path: Path) -> None:
    """It lives on, and counts for the size of the cache."""
    async with open_disk_cache(tmp_path) as cache:
        first = await cache.trees.take_tool_cache("pip")
        second = await cache.trees.take_tool_cache("pip")
        assert [first.path.name, second.path.name] == ["pip-0", "pip-1"]
        (first.path / "wheel").write_bytes(b"x" * 1000)
        await first.weigh()
        await second.weigh()
        first.release()
        third = await cache.trees.take_tool_cache("pip")
        assert (third.path / "wheel").read_bytes() == b"x" * 1000
        third.release()
        second.release()
        assert (tmp_path / "builders" / "pip-0.size").read_text() == "1000"
        await cache.make_room()
        assert list((tmp_path / "builders").iterdir()) == []


async def test_a_disk_says_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_disk_cache(tmp_path, min_free_bytes=2**62) as cache:
        with trio.fail_after(10):
            await (await cache.trees.open_scratch()).wait_disk_full()

    def fail(_path: object) -> None:
        raise OSError(errno.EIO, "broken")

    async with opened(tmp_path) as (_, scratch):
        monkeypatch.setattr(os, "statvfs", fail)
        with trio.move_on_after(0.1) as scope:
            await scratch.wait_disk_full()
        monkeypatch.undo()
        assert scope.cancelled_caught


async def test_what_cannot_be_removed_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.EBUSY, "busy")

    async with opened(tmp_path) as (_, scratch):
        scratch.app.mkdir()
        held = await scratch.keep(KEY, {})
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(tree_dir, "remove_tree", fail)
            patch.setattr("smartmob_agent.source.trees.disk.remove_tree", fail)
            await held.discard()
            await scratch.remove()
        assert caplog.messages.count("cannot remove") == 2
        await held.release()


def test_others_do_not_disturb_what_is_kept(tmp_path: Path) -> None:
    """Foreign files are passed over; what vanishes in between is gone."""
    own = tmp_path / "own"
    own.mkdir()
    trees = TreeDir(directory=tmp_path, own=own)
    trees.prepare()
    (tmp_path / "builds" / "README").write_text("x")
    (tmp_path / "builds" / KEY).mkdir()
    (tmp_path / "builders" / "pip-0").mkdir()
    assert list(trees.kept()) == []
    assert not trees.remove(tmp_path / "builds" / OTHER)
    (tmp_path / "builds" / KEY / "record.json").write_text(json.dumps({"disk_bytes": 7}))
    assert [(one.path.name, one.size) for one in trees.kept()] == [(KEY, 7)]


async def test_a_damaged_tree_makes_room_for_a_good_one(tmp_path: Path) -> None:
    """Another agent left it under the same key."""
    async with opened(tmp_path) as (cache, scratch):
        (tmp_path / "builds" / KEY / "app").mkdir(parents=True)
        scratch.app.mkdir()
        held = await scratch.keep(KEY, {"builder": "x"})
        assert held.record["builder"] == "x"
        await held.release()
        assert cache.trees is not None


async def test_a_cache_that_someone_removed_keeps_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, scratch):
        scratch.app.mkdir()
        (tmp_path / "builds").rmdir()
        with pytest.raises(UnpackError, match="No such file"):
            await scratch.keep(KEY, {})
        assert {scratch.home.name, scratch.temporary.name} == {"home", "tmp"}


async def test_a_cancelled_keep_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as (cache, scratch):
        scratch.app.mkdir()

        def cancel(_archives: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("smartmob_agent.source.cache.archive_dir.ArchiveDir.trim", cancel)
            with pytest.raises(ZeroDivisionError):
                await scratch.keep(KEY, {})
        await cache.make_room()
        assert list((tmp_path / "builds").iterdir()) == []


def test_a_disk_that_cannot_lock_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    trees = TreeDir(directory=tmp_path, own=tmp_path)
    trees.prepare()
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="no locks"):
        trees.take_tool_cache("pip")


def test_a_tree_that_was_replaced_before_it_was_locked_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(_fd: int, _kind: int) -> None:
        (tmp_path / "builds" / KEY).rename(tmp_path / "old")
        (tmp_path / "builds" / KEY).mkdir()

    trees = TreeDir(directory=tmp_path, own=tmp_path)
    trees.prepare()
    (tmp_path / "builds" / KEY).mkdir()
    monkeypatch.setattr(fcntl, "flock", replace)
    assert trees.find(KEY) is None
