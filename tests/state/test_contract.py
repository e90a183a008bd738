"""What every `StateStore` holds to: in memory, in SQLite, and the fake."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from smartmob_agent.errors import BodyTooLargeError
from smartmob_agent.state import history
from smartmob_agent.state.seam import (
    CompactedError,
    Key,
    StateChange,
    StateConflictError,
    StateStore,
    StoredDocument,
    Value,
)
from smartmob_agent.state.values import VALUE_BYTES
from tests.state.stores import KEY, OTHER, Open, fake, memory, sqlite


@pytest.fixture(params=[memory, sqlite, fake], ids=lambda make: make.__name__)
def open_one(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    make: Callable[[Path], Open] = request.param
    return make(tmp_path)


async def values(store: StateStore) -> dict[Key, Value]:
    return {one.key: one.value for one in (await store.read_all()).documents}


async def test_a_new_store_is_empty(open_one: Open) -> None:
    async with open_one() as store:
        snapshot = await store.read_all()
    assert (snapshot.revision, snapshot.documents) == (0, ())


async def test_what_was_kept_is_there_again(open_one: Open) -> None:
    """With its revisions, in the order of creation; the next revision goes on from there."""
    async with open_one() as store:
        first = await store.compare_and_set(OTHER, {"a": 1}, expected=0)
        second = await store.compare_and_set(KEY, {"b": None}, expected=0)
        third = await store.compare_and_set(OTHER, {"a": 2}, expected=first)
    async with open_one() as store:
        snapshot = await store.read_all()
        assert snapshot.documents == (
            StoredDocument(key=OTHER, value={"a": 2}, created=first, revision=third),
            StoredDocument(key=KEY, value={"b": None}, created=second, revision=second),
        )
        assert (first, second, third, snapshot.revision) == (1, 2, 3, 3)
        assert await store.compare_and_set(KEY, None, expected=second) == 4
    async with open_one() as store:
        assert await values(store) == {OTHER: {"a": 2}}


async def test_a_document_that_is_made_again_is_a_new_one(open_one: Open) -> None:
    async with open_one() as store:
        await store.compare_and_set(KEY, {}, expected=0)
        await store.compare_and_set(KEY, None, expected=1)
        await store.compare_and_set(KEY, {}, expected=0)
        (document,) = (await store.read_all()).documents
    assert (document.created, document.revision) == (3, 3)


@pytest.mark.parametrize("value", [{"new": True}, None])
@pytest.mark.parametrize("expected", [1, 3, 99])
async def test_nobody_overwrites_what_they_have_not_read(
    open_one: Open, value: Value | None, expected: int
) -> None:
    async with open_one() as store:
        await store.compare_and_set(KEY, {"n": 1}, expected=0)
        await store.compare_and_set(KEY, {"n": 2}, expected=1)
        before = await store.read_all()
        with pytest.raises(StateConflictError) as caught:
            await store.compare_and_set(KEY, value, expected=expected)
        assert await store.read_all() == before
    assert caught.value.found == before.documents[0]
    assert str(caught.value) == (
        f"expected revision {expected} of the document process/hello.web.0, found revision 2"
    )


async def test_a_document_that_is_there_cannot_be_made(open_one: Open) -> None:
    async with open_one() as store:
        await store.compare_and_set(KEY, {"n": 1}, expected=0)
        with pytest.raises(StateConflictError, match="expected none of"):
            await store.compare_and_set(KEY, {"n": 2}, expected=0)
        with pytest.raises(StateConflictError, match="found none") as caught:
            await store.compare_and_set(OTHER, None, expected=1)
        assert caught.value.found is None
        assert await values(store) == {KEY: {"n": 1}}


async def test_of_many_who_want_the_same_one_gets_it(open_one: Open) -> None:
    outcomes: list[int | str] = []

    async def write(number: int) -> None:
        try:
            outcomes.append(await store.compare_and_set(KEY, {"n": number}, expected=0))
        except StateConflictError:
            outcomes.append("conflict")

    async with open_one() as store, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, number)
    assert sorted(outcomes, key=str) == [1, *["conflict"] * 19]


async def test_many_at_once_are_all_kept(open_one: Open) -> None:
    revisions = set[int]()

    async def write(number: int) -> None:
        key = ("process", f"hello.web.{number}")
        revisions.add(await store.compare_and_set(key, {"n": number}, expected=0))

    async with open_one() as store:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(write, number)
        assert len(await values(store)) == 50
    assert revisions == set(range(1, 51))


EVERYTHING = {
    "text": 'ü\u2028\U0001f600"\\\0',
    "lone surrogate": "\ud800",
    "numbers": [0, -1, 1.5, 2**80, 1e300],
    "others": [True, False, None, [], {}],
    "nested": {"": {"z": 1, "a": 2}},
}


async def test_json_comes_back_as_it_was(open_one: Open) -> None:
    """The order of names, too: that of variables is seen."""
    async with open_one() as store:
        await store.compare_and_set(KEY, EVERYTHING, expected=0)
    async with open_one() as store:
        found = (await values(store))[KEY]
    assert repr(found) == repr(EVERYTHING)


async def test_nobody_shares_a_value(open_one: Open) -> None:
    """Neither with who wrote it, nor with another reader or watcher."""
    mine: dict[str, object] = {"n": 1}
    async with open_one() as store:
        await store.compare_and_set(KEY, mine, expected=0)
        mine["n"] = 2
        for _ in range(2):
            found = (await values(store))[KEY]
            assert found == {"n": 1}
            found["n"] = 3  # type: ignore[index]  # a careless reader


NEVER: list[object] = [
    [],
    "text",
    {1: 2},
    {"a": (1, 2)},
    {"a": {1, 2}},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": b""},
]


@pytest.mark.parametrize("value", NEVER, ids=lambda value: repr(value)[:20])
async def test_what_would_not_come_back_is_refused(open_one: Open, value: Value) -> None:
    async with open_one() as store:
        with pytest.raises(ValueError, match=r"^expected a "):
            await store.compare_and_set(KEY, value, expected=0)
        assert (await store.read_all()).revision == 0


async def test_what_is_too_long_is_refused(open_one: Open) -> None:
    """All that a request of 1 MiB can say is not."""
    longest = {"a": "ü" * 512 * 1024}
    async with open_one() as store:
        with pytest.raises(BodyTooLargeError) as caught:
            await store.compare_and_set(KEY, {"a": "x" * VALUE_BYTES}, expected=0)
        assert await store.compare_and_set(KEY, longest, expected=0) == 1
        assert await values(store) == {KEY: longest}
    assert caught.value.status == 413


async def test_what_is_too_deep_is_refused(open_one: Open) -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    async with open_one() as store:
        with pytest.raises(ValueError, match=r"^expected a JSON object"):
            await store.compare_and_set(KEY, deep, expected=0)
    while deep:
        deep = deep.pop("a")  # type: ignore[assignment]  # Python 3.11 cannot free it at once


BAD_KEYS = [
    ("", "a"),
    ("a/b", "a"),
    ("Ä", "a"),
    ("A", "a"),
    ("a", ""),
    ("a", "a\0"),
    ("a", "ü" * 513),
]


@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
async def test_a_bad_key_is_refused(open_one: Open, key: Key) -> None:
    async with open_one() as store:
        with pytest.raises(ValueError, match=r"^expected a "):
            await store.compare_and_set(key, {}, expected=0)


async def test_only_what_was_read_can_be_deleted(open_one: Open) -> None:
    async with open_one() as store:
        with pytest.raises(ValueError, match=r"^expected the revision of a document to delete"):
            await store.compare_and_set(KEY, None, expected=0)


async def test_a_watcher_sees_each_change_in_order(open_one: Open) -> None:
    """Those that were there when it came, and those that come later."""
    async with open_one() as store:
        for number in range(3):
            await store.compare_and_set(KEY, {"n": number}, expected=number)
        seen: list[StateChange] = []

        async def watch() -> None:
            async with store.watch(after=1) as changes:
                async for change in changes:
                    seen.append(change)
                    if change.value is None:
                        return

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                await store.compare_and_set(OTHER, {}, expected=0)
                await store.compare_and_set(KEY, None, expected=3)
    assert seen == [
        StateChange(key=KEY, value={"n": 1}, revision=2),
        StateChange(key=KEY, value={"n": 2}, revision=3),
        StateChange(key=OTHER, value={}, revision=4),
        StateChange(key=KEY, value=None, revision=5),
    ]


async def test_a_conflict_is_no_change(open_one: Open) -> None:
    async with open_one() as store:
        await store.compare_and_set(KEY, {}, expected=0)
        with pytest.raises(StateConflictError):
            await store.compare_and_set(KEY, {}, expected=0)
        await store.compare_and_set(OTHER, {}, expected=0)
        async with store.watch(after=0) as changes:
            seen = [await anext(changes) for _ in range(2)]
    assert [(one.key, one.revision) for one in seen] == [(KEY, 1), (OTHER, 2)]


async def test_a_cancelled_watcher_loses_no_change(open_one: Open) -> None:
    async with open_one() as store, store.watch(after=0) as changes:
        with trio.move_on_after(0):
            await anext(changes)
        await store.compare_and_set(KEY, {}, expected=0)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(changes)
        assert (await anext(changes)).revision == 1


async def test_a_watch_ends_with_the_store(open_one: Open, nursery: trio.Nursery) -> None:
    """After the changes that were there."""
    seen: list[int] = []
    ended = trio.Event()

    async def watch(store: StateStore, task_status: trio.TaskStatus[None]) -> None:
        async with store.watch(after=0) as changes:
            task_status.started()
            seen.extend([change.revision async for change in changes])
        ended.set()

    async with open_one() as store:
        await nursery.start(watch, store)
        await store.compare_and_set(KEY, {}, expected=0)
        async with store.watch(after=0) as late:
            pass
    with trio.fail_after(60):
        await ended.wait()
    assert seen == [1]
    assert [change.revision async for change in late] == [1]


async def test_changes_before_the_opening_are_forgotten(open_one: Open) -> None:
    async with open_one() as store:
        await store.compare_and_set(KEY, {}, expected=0)
    async with open_one() as store:
        with pytest.raises(CompactedError, match="those up to 1 are forgotten") as caught:
            async with store.watch(after=0):
                pass
        async with store.watch(after=1) as changes:
            await store.compare_and_set(KEY, None, expected=1)
            assert (await anext(changes)).revision == 2
    assert (caught.value.after, caught.value.compacted) == (0, 1)


async def test_a_watcher_that_is_too_slow_is_told(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps nobody from writing, and must read everything again."""
    monkeypatch.setattr(history, "MOST_CHANGES", 3)
    async with open_one() as store:
        async with store.watch(after=0) as changes:
            for number in range(5):
                await store.compare_and_set(KEY, {}, expected=number)
            with pytest.raises(CompactedError):
                await anext(changes)
        async with store.watch(after=2) as changes:
            assert (await anext(changes)).revision == 3


async def test_remembered_changes_have_few_bytes(
    open_one: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_BYTES", 1000)
    async with open_one() as store:
        for number in range(5):
            await store.compare_and_set(KEY, {"a": "x" * 300}, expected=number)
        with pytest.raises(CompactedError) as caught:
            async with store.watch(after=0):
                pass
    assert caught.value.compacted == 2


async def test_a_revision_that_is_to_come_cannot_be_watched(open_one: Open) -> None:
    async with open_one() as store:
        with pytest.raises(ValueError, match="expected a revision up to 0, found 1"):
            async with store.watch(after=1):
                pass


async def test_a_cancelled_write_is_kept_or_not(open_one: Open) -> None:
    """Whoever reads afterwards sees which, and so do watchers and the next start."""
    async with open_one() as store:
        for number in range(40):
            key = ("process", f"hello.web.{number}")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(store.compare_and_set, key, {}, expected=0))
                for _ in range(number % 8):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        snapshot = await store.read_all()
        assert await store.read_all() == snapshot
        async with store.watch(after=0) as changes:
            seen = [await anext(changes) for _ in snapshot.documents]
        assert [one.key for one in seen] == [one.key for one in snapshot.documents]
    async with open_one() as store:
        assert await store.read_all() == snapshot
