"""Calls that may hang: a FIFO that nobody opens at its other end stands for a disk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import trio

from smartmob_agent.bounded import call_bounded, call_without_threads


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


async def test_what_is_returned_and_what_is_raised() -> None:
    def fail() -> None:
        raise ValueError("as ordered")

    assert await call_bounded(threading.get_ident, limit=60) != threading.get_ident()
    with pytest.raises(ValueError, match="as ordered"):
        await call_bounded(fail, limit=60)


async def test_what_hangs_is_left_behind_and_discarded_when_it_comes(fifo: Path) -> None:
    """The event loop goes on, and nothing stays open."""
    discarded: list[int] = []
    ended = threading.Event()

    def discard(fd: int) -> None:
        os.close(fd)
        discarded.append(fd)
        ended.set()

    with pytest.raises(TimeoutError):
        await call_bounded(lambda: os.open(fifo, os.O_RDONLY), limit=0.05, discard=discard)
    os.close(os.open(fifo, os.O_WRONLY))
    assert await trio.to_thread.run_sync(ended.wait, 60)
    assert len(discarded) == 1


async def test_what_is_too_late_may_be_dropped(fifo: Path) -> None:
    ended = threading.Event()

    def read() -> str:
        try:
            return fifo.read_text(encoding="utf-8")
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await call_bounded(read, limit=0.05)
    await trio.Path(fifo).write_text("late", encoding="utf-8")
    assert await trio.to_thread.run_sync(ended.wait, 60)


async def test_a_cancelled_caller_gets_what_was_begun() -> None:
    """So it can close it."""
    with trio.CancelScope() as scope:
        scope.cancel()
        with trio.CancelScope(shield=True):
            assert await call_bounded(lambda: 7, limit=60) == 7
    begun, go = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go.wait(60)
        return 7

    results: list[int] = []
    async with trio.open_nursery() as nursery:

        async def call() -> None:
            results.append(await call_bounded(work, limit=60))

        nursery.start_soon(call)
        await trio.to_thread.run_sync(begun.wait, 60)
        nursery.cancel_scope.cancel()
        go.set()
    assert results == [7]


async def test_without_threads_it_is_called_at_once() -> None:
    """For tests that decide the order of tasks."""
    call_without_threads()
    assert await call_bounded(threading.get_ident, limit=60) == threading.get_ident()
