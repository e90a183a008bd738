"""Turns to unpack."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.source.app.unpackers import Unpackers
from tests.source.archives import make_tar


@pytest.mark.parametrize(("compression", "at_once"), [("", 3), ("gz", 3), ("xz", 1)])
async def test_one_archive_at_a_time_is_hungry(
    compression: str, at_once: int, tmp_path: Path
) -> None:
    """Those of xz take tens of megabytes; the others only wait for a thread."""
    archive = tmp_path / "archive"
    archive.write_bytes(make_tar(compression=compression))
    unpackers, running = Unpackers(), 0

    async def run() -> None:
        nonlocal running
        async with unpackers.turn(archive):
            running += 1
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        assert running == at_once
        nursery.cancel_scope.cancel()


async def test_threads_are_few(tmp_path: Path) -> None:
    """The limiter is one for all."""
    archive = tmp_path / "archive"
    archive.write_bytes(b"")
    unpackers = Unpackers()
    async with contextlib.AsyncExitStack() as stack:
        limiters = [await stack.enter_async_context(unpackers.turn(archive)) for _ in range(3)]
        assert {limiter.total_tokens for limiter in limiters} == {2}
        assert len({id(limiter) for limiter in limiters}) == 1


async def test_an_archive_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with Unpackers().turn(tmp_path / "archive"):
            raise AssertionError
