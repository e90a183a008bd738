"""The files of processes, on a real disk."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PosixPath

import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import Cache, SourceLimits
from smartmob_agent.errors import DownloadError, StartError, TransientError, UnpackError
from smartmob_agent.source.app.workspace import Unpacked, UnpackLimiter, open_workspaces
from smartmob_agent.source.disk.owned_dir import PREFIX
from tests.source.archives import Entry, header, make_tar, set_size

LIMITS = SourceLimits()


def entries(path: Path) -> list[Path]:
    """What is in a directory, but for the cache of archives."""
    return [entry for entry in path.iterdir() if entry.name != "cache"]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    while True:
        if is_so():
            return
        await trio.lowlevel.checkpoint()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def read(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A file elsewhere."""
    return tmp_path / "archive"


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A work directory."""
    return tmp_path / "work"


APP = make_tar(Entry("app/Procfile", b"web: run"))


async def test_an_archive_becomes_an_app(archive: Path, parent: Path) -> None:
    """The archive stays; another one may follow."""
    async with open_workspaces(parent, LIMITS) as workspaces:
        workspace = workspaces.open("app.node")
        for content in (APP, make_tar(Entry("Procfile", b"a: b")), APP):
            write(archive, content)
            app = await workspace.unpack(archive)
            assert content == read(archive)
        [directory] = entries(entries(parent)[0])
        root = directory / "app" / "app"
        assert app == Unpacked(
            root=root, procfile=b"web: run", files={"Procfile"}, directory=directory / "app"
        )
        assert (app.root / "Procfile").read_bytes() == b"web: run"
        assert directory.name.startswith("app.node-")
        assert directory.stat().st_mode & 0o777 == 0o700


async def test_a_workspace_is_removed_with_all_that_is_in_it(archive: Path, parent: Path) -> None:
    """Again is no error, nor is one that was never used."""
    async with open_workspaces(parent, LIMITS) as workspaces:
        unused, workspace = workspaces.open("unused"), workspaces.open("used")
        write(archive, APP)
        await workspace.unpack(archive)
        for one in (unused, workspace, workspace):
            await one.remove()
        assert entries(entries(parent)[0]) == []


async def test_nothing_is_left_at_the_end(tmp_path: Path) -> None:
    """Not even when the block is cancelled, and work directory and its parents are made."""
    parent = tmp_path / "a" / "b"
    with trio.CancelScope() as scope:
        async with open_workspaces(parent, LIMITS) as workspaces:
            with pytest.raises(TransientError):
                await workspaces.open("one").unpack(tmp_path / "missing")
            assert len(list(parent.iterdir())) == 1
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert list(parent.iterdir()) == []


async def test_what_a_dead_agent_left_is_removed_first(tmp_path: Path) -> None:
    """It was killed, and could not do it itself."""
    (tmp_path / f"{PREFIX}dead" / "one").mkdir(parents=True)
    async with open_workspaces(tmp_path, LIMITS):
        assert not (tmp_path / f"{PREFIX}dead").exists()


async def test_the_default_is_the_directory_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system has it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with open_workspaces(None, LIMITS):
        (directory,) = entries(tmp_path)
        assert directory.name.startswith(PREFIX)


async def test_a_bad_work_directory_is_an_error_of_the_operator(tmp_path: Path) -> None:
    """Told in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError) as info:
        async with open_workspaces(tmp_path / "file", LIMITS):
            raise AssertionError
    assert str(info.value) == f"cannot keep sources in {tmp_path}/file: File exists"


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"<html>", DownloadError), (make_tar(Entry("a"), Entry("../evil")), UnpackError)],
)
async def test_nothing_is_left_of_an_archive_that_is_refused(
    content: bytes, error: type[Exception], archive: Path, parent: Path
) -> None:
    """The process keeps its state until it is deleted, but no disk."""
    write(archive, content)
    async with open_workspaces(parent, LIMITS) as workspaces:
        with pytest.raises(error):
            await workspaces.open("one").unpack(archive)
        [directory] = entries(entries(parent)[0])
        assert entries(directory) == []


async def test_a_disk_that_says_no_may_mend_itself(archive: Path, parent: Path) -> None:
    """The message says what the operating system said."""
    async with open_workspaces(parent, LIMITS) as workspaces:
        with pytest.raises(TransientError) as info:
            await workspaces.open("one").unpack(archive)
        assert str(info.value) == "cannot keep the source: No such file or directory"
        [directory] = entries(parent)
        shutil.rmtree(directory)
        write(archive, APP)
        with pytest.raises(TransientError, match="cannot keep the source"):
            await workspaces.open("two").unpack(archive)


async def test_unpacking_stops_when_it_is_cancelled(archive: Path, parent: Path) -> None:
    """In the middle of a file; what is there is removed under a shield."""
    size = 2 * 1024**3
    with archive.open("wb") as file:
        file.write(header(Entry("large"), lambda block: set_size(block, size)))
        file.truncate(512 + size + 1024)
    async with open_workspaces(parent, LIMITS) as workspaces:
        workspace = workspaces.open("one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workspace.unpack, archive)
            await until(lambda: any(parent.rglob("large")))
            nursery.cancel_scope.cancel()
        # The thread is gone, and did not get to its end.
        [app] = entries(entries(entries(parent)[0])[0])
        assert sum(path.stat().st_size for path in entries(app)) < size
        with trio.CancelScope() as scope:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await workspace.remove()
        assert not app.parent.exists()


async def test_what_cannot_be_removed_is_logged(
    archive: Path, parent: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Removing never fails; a full table of descriptors stands for all that can go wrong."""
    write(archive, APP)
    async with open_workspaces(parent, LIMITS) as workspaces:
        workspace = workspaces.open("one")
        await workspace.unpack(archive)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            await workspace.remove()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [record.message for record in caplog.records] == ["cannot remove"]
    assert caplog.records[0].levelno == logging.WARNING
    assert entries(parent) == []


@pytest.mark.parametrize(("compression", "at_once"), [("", 3), ("gz", 3), ("xz", 1)])
async def test_one_archive_at_a_time_may_need_much_memory(
    compression: str, at_once: int, tmp_path: Path
) -> None:
    """Those of xz take tens of megabytes; the others only wait for a thread."""
    archive = tmp_path / "archive"
    archive.write_bytes(make_tar(compression=compression))
    limiter, running = UnpackLimiter(), 0

    async def run() -> None:
        nonlocal running
        async with limiter.hold(archive):
            running += 1
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
        await until(lambda: running + limiter.waiting == 3)
        assert running == at_once
        nursery.cancel_scope.cancel()


async def test_threads_are_few(tmp_path: Path) -> None:
    """The limiter is one for all."""
    archive = tmp_path / "archive"
    archive.write_bytes(b"")
    limiter = UnpackLimiter()
    async with contextlib.AsyncExitStack() as stack:
        threads = [await stack.enter_async_context(limiter.hold(archive)) for _ in range(3)]
        assert {one.total_tokens for one in threads} == {2}
        assert len({id(one) for one in threads}) == 1


async def test_an_archive_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with UnpackLimiter().hold(tmp_path / "archive"):
            raise AssertionError


def own_directories(path: Path) -> list[Path]:
    return list(path.glob(f"*/{PREFIX}*"))


async def test_other_tasks_go_on_while_a_slow_disk_makes_the_directories(tmp_path: Path) -> None:
    """The agent is a task of a program that may have others."""

    class SlowPath(PosixPath):
        def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            trio.from_thread.run(trio.lowlevel.checkpoint)
            super().mkdir(mode, parents, exist_ok)

    cache = Cache(cache_dir=SlowPath(tmp_path / "cache"))
    with trio.fail_after(60):
        async with open_workspaces(SlowPath(tmp_path / "work"), LIMITS, cache):
            assert len(own_directories(tmp_path)) == 2
    assert own_directories(tmp_path) == []


async def test_an_agent_that_is_cancelled_while_it_starts_leaves_no_directory(
    parent: Path, tmp_path: Path
) -> None:
    """The next agent removes those of dead agents instead."""
    (parent / f"{PREFIX}dead").mkdir(parents=True)

    class CancellingPath(PosixPath):
        def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
            super().mkdir(mode, parents, exist_ok)
            trio.from_thread.run_sync(scope.cancel)

    with trio.CancelScope() as scope:
        async with open_workspaces(CancellingPath(parent), LIMITS):
            raise AssertionError
    assert scope.cancelled_caught
    assert [path.name for path in own_directories(tmp_path)] == [f"{PREFIX}dead"]


async def test_a_tree_becomes_an_app(archive: Path, parent: Path) -> None:
    """What was unpacked is handed over, built, kept and copied; texts name the copy."""
    write(archive, APP)
    async with open_workspaces(parent, LIMITS) as workspaces:
        workspace = workspaces.open("app.node")
        await workspace.unpack(archive)
        scratch = await workspaces.cache.trees.open_scratch()
        await workspace.hand_over(scratch.app)
        (scratch.app / "app" / "script").write_text(f"#!{scratch.app}/bin/python")
        tree = await scratch.keep("a" * 64, {})
        directory = await workspace.copy(tree)
        assert read(directory / "app" / "Procfile") == b"web: run"
        assert read(directory / "app" / "script") == f"#!{directory}/bin/python".encode()
        assert read(tree.path / "app" / "script") == f"#!{scratch.app}/bin/python".encode()
        await tree.release()


async def test_a_damaged_tree_is_no_app(parent: Path) -> None:
    """As after a power failure; it is not found any more."""
    async with open_workspaces(parent, LIMITS) as workspaces:
        trees = workspaces.cache.trees
        scratch = await trees.open_scratch()
        scratch.app.mkdir()
        write(scratch.app / "file", b"content")
        tree = await scratch.keep("a" * 64, {})
        write(tree.path / "file", b"")
        with pytest.raises(TransientError, match="damaged, and is made again"):
            await workspaces.open("app.node").copy(tree)
        await tree.release()
        assert await trees.find("a" * 64) is None


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EACCES])
async def test_what_was_unpacked_is_handed_over_to_another_disk(
    number: int, archive: Path, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(archive, APP)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name == "app":
            raise OSError(number, os.strerror(number))
        return rename(path, target)

    async with open_workspaces(parent, LIMITS) as workspaces:
        workspace = workspaces.open("app.node")
        app = await workspace.unpack(archive)
        monkeypatch.setattr(Path, "rename", refuse)
        if number == errno.EXDEV:
            await workspace.hand_over(tmp_path / "target")
            assert read(tmp_path / "target" / "app" / "Procfile") == b"web: run"
            assert not app.root.exists()
        else:
            with pytest.raises(TransientError, match="Permission denied"):
                await workspace.hand_over(tmp_path / "target")


async def test_what_an_app_has_removed_is_noticed(tmp_path: Path) -> None:
    """Its place for temporary files is made anew; that its root is gone is told."""
    archive = tmp_path / "archive"
    write(archive, APP)
    async with open_workspaces(tmp_path / "work", LIMITS) as workspaces:
        workspace = workspaces.open("app.node")
        app = await workspace.unpack(archive)
        temporary = await workspace.renew(app.root)
        assert temporary is not None
        temporary.rmdir()
        assert await workspace.renew(app.root) == temporary
        assert temporary.is_dir()
        assert await workspace.renew(app.root / "missing") is None
        await workspace.remove()
