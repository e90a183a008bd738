"""The cache of archives, on a real disk."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path

import pytest
import trio

from smartmob_agent.config.settings import Cache
from smartmob_agent.errors import DownloadError, StartError, TransientError
from smartmob_agent.source.cache.seam import ArchiveCache, HeldArchive
from smartmob_agent.source.disk.owned_dir import PREFIX
from tests.source.archives import Entry, make_tar
from tests.source.caches import open_disk_cache

APP = make_tar(Entry("Procfile", b"web: run"))


async def keep(cache: ArchiveCache, content: bytes) -> HeldArchive:
    part = cache.make_part()
    await part.write(content)
    return await part.keep(hashlib.sha256(content).hexdigest())


def own_directories(directory: Path) -> list[Path]:
    return list(directory.glob(f"{PREFIX}*"))


def damage(directory: Path) -> None:
    shutil.rmtree(directory / "downloads")


async def test_archives_outlive_the_agent(tmp_path: Path) -> None:
    """What is not complete does not, nor what a killed agent left so."""
    (tmp_path / f"{PREFIX}dead").mkdir()
    async with open_disk_cache(tmp_path) as cache:
        archive = await keep(cache, APP)
        await archive.release()
        await cache.make_part().write(b"incomplete")
        assert len(own_directories(tmp_path)) == 1
    assert own_directories(tmp_path) == []
    async with open_disk_cache(tmp_path) as cache:
        found = await cache.find(archive.path.name)
        assert found is not None
        await found.release()


async def test_what_was_too_much_while_it_was_held_goes_then(tmp_path: Path) -> None:
    async with open_disk_cache(tmp_path, Cache(cache_bytes=1)) as cache:
        archive = await keep(cache, APP)
        assert archive.exists
        await archive.release()
        assert await cache.find(archive.path.name) is None


async def test_only_archives_are_taken_for_archives(tmp_path: Path) -> None:
    async with open_disk_cache(tmp_path) as cache:
        for content in (APP, b"<html>"):
            part = cache.make_part()
            await part.write(content)
            if content == APP:
                await part.check()
            else:
                with pytest.raises(DownloadError, match="found an HTML page"):
                    await part.check()


async def test_a_part_of_the_disk_stays_free(tmp_path: Path) -> None:
    async with open_disk_cache(tmp_path, min_free_bytes=1 << 62) as cache:
        with pytest.raises(TransientError, match="bytes of the disk to stay free"):
            await cache.make_part().write(APP)


async def test_a_bad_directory_is_an_error_of_the_operator(tmp_path: Path) -> None:
    """Told in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError) as info:
        async with open_disk_cache(tmp_path / "file"):
            raise AssertionError
    assert str(info.value) == f"cannot keep archives in {tmp_path}/file: Not a directory"


async def test_a_cache_that_cannot_be_trimmed_is_no_reason_to_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_disk_cache(tmp_path, Cache(cache_bytes=1)) as cache:
        archive = await keep(cache, APP)
        damage(tmp_path)
        await archive.release()
    assert [record.message for record in caplog.records] == ["cannot trim the cache"]
    assert caplog.records[0].levelno == logging.WARNING


async def test_what_cannot_be_removed_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, check: object) -> None:
        raise PermissionError(1, "not permitted")

    async with open_disk_cache(tmp_path):
        monkeypatch.setattr("smartmob_agent.source.cache.disk.remove_tree", fail)
    assert [record.message for record in caplog.records] == ["cannot remove"]


async def test_a_search_that_is_cancelled_holds_nothing(tmp_path: Path) -> None:
    """Reading a large archive takes a while."""
    async with open_disk_cache(tmp_path) as cache:
        archive = await keep(cache, APP)
        await archive.release()
        with trio.CancelScope() as scope:
            scope.cancel()
            await cache.find(archive.path.name)
        await cache.make_room()
        assert await cache.find(archive.path.name) is None
