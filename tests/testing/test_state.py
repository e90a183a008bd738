"""The fake store fails as it is told; what it promises is in `tests/state/test_contract.py`."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smartmob_agent.state.seam import CompactedError, StateFailedError, StateFullError
from smartmob_agent.testing import FakeStore

KEY = ("process", "hello.web.0")


async def test_a_full_store_changes_nothing() -> None:
    store = FakeStore()
    store.full = True
    with pytest.raises(StateFullError):
        await store.compare_and_set(KEY, {}, expected=0)
    store.full = False
    assert (await store.read_all()).documents == ()
    assert await store.compare_and_set(KEY, {}, expected=0) == 1


async def test_errors_come_one_each() -> None:
    store = FakeStore()
    store.errors = [StateFullError("one"), StateFailedError("two")]
    for text in ("one", "two"):
        with pytest.raises((StateFullError, StateFailedError), match=text):
            await store.compare_and_set(KEY, {}, expected=0)
    assert await store.compare_and_set(KEY, {}, expected=0) == 1
    assert store.writes == [KEY]


async def test_a_failed_store_is_mended_by_a_restart() -> None:
    store = FakeStore()
    await store.compare_and_set(KEY, {"n": 1}, expected=0)
    store.failure = "the disk is gone"
    for call in (store.read_all, partial(store.compare_and_set, KEY, None, expected=1)):
        with pytest.raises(StateFailedError, match="the disk is gone"):
            await call()
    store.restart()
    assert [one.value for one in (await store.read_all()).documents] == [{"n": 1}]


async def test_a_hanging_store_answers_when_it_goes_on(autojump_clock: MockClock) -> None:
    store, revisions = FakeStore(), []

    async def write() -> None:
        revisions.append(await store.compare_and_set(KEY, {}, expected=0))

    store.go_on()
    for _ in range(2):
        store.hang()
    with trio.move_on_after(5) as scope:
        await store.read_all()
    assert (scope.cancelled_caught, trio.current_time()) == (True, 5.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        assert revisions == []
        store.go_on()
    assert revisions == [1]


async def test_a_write_can_be_kept_and_not_acknowledged() -> None:
    """Where it is cancelled tells which."""
    found = set()
    for steps in range(6):
        store = FakeStore()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(store.compare_and_set, KEY, {}, expected=0))
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        found.add(len((await store.read_all()).documents))
    assert found == {0, 1}


async def test_a_store_that_forgets_tells_so() -> None:
    store = FakeStore()
    await store.compare_and_set(KEY, {}, expected=0)
    store.forget()
    with pytest.raises(CompactedError):
        async with store.watch(after=0):
            pass
