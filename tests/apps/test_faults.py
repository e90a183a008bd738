"""Apps whose disk is full or hangs, and documents that nobody can read."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.apps.changes import (
    KEPT_RELEASES,
    begin_release,
    begin_rollback,
    end_rollout,
    scale,
)
from smartmob_agent.apps.record import KIND, AppRecord, parse_app
from smartmob_agent.apps.registry import AppNotFoundError
from smartmob_agent.apps.stage import _LastLines
from smartmob_agent.apps.wanted import AppState, Release
from smartmob_agent.errors import SpawnError, StartError, StoppingError, UnpackError
from smartmob_agent.output.batch import Stream
from smartmob_agent.process.policies import RestartPolicy
from smartmob_agent.process.states import State
from smartmob_agent.state.seam import StateFailedError, StateFullError
from smartmob_agent.testing import FakeSpawner, FakeStore, FakeWorkspaces
from tests.apps.world import open_shop
from tests.process.world import EPOCH, World, make_spec, settle

Clock = trio.testing.MockClock
FULL = StateFullError("the disk is full")


async def test_nothing_changes_when_it_cannot_be_kept(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        store.errors.append(FULL)
        with pytest.raises(StateFullError):
            await shop.deploy(1)
        assert len(shop.apps) == 0
        await shop.deploy_and_wait(1)
        before = shop.app.state
        store.errors.append(FULL)
        with pytest.raises(StateFullError):
            await shop.deploy(2)
        assert shop.app.state == before
        await settle()
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]


async def test_a_release_whose_digest_cannot_be_kept_fails(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        await shop.deploy_and_wait(1)
        shop.world.fetcher.delay = 1
        wanted = await shop.deploy(2)
        store.errors.append(FULL)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert (state.rollout.state, state.rollout.step) == ("failed", "fetching")


async def test_an_end_is_kept_when_the_disk_has_room_again(autojump_clock: Clock) -> None:
    """And what goes back does so all the same."""
    store = FakeStore()
    world = World(state=store, spawner=FakeSpawner(obey=True))
    async with open_shop(world) as shop:
        await shop.deploy_and_wait(1)
        wanted = await shop.deploy(2)
        await trio.sleep(1)
        store.full = True
        world.spawner.children[-1].exit(1)
        await trio.sleep(30)
        assert shop.app.state.rollout is not None
        assert shop.app.state.rollout.ended_at is None
        store.full = False
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.state == "rolled back"


async def test_what_cannot_be_removed_is_tried_again(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        await shop.deploy_and_wait(1, {"web": 1})
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shop.apps.delete, "shop", lambda _: None)
            await settle()
            # The mark of the deletion is kept by now, and so is the process: gone.
        assert trio.current_time() == began
        await shop.deploy_and_wait(1, {"web": 1})

        async def fill() -> None:
            while True:
                await trio.lowlevel.checkpoint()
                if shop.app.state.is_deleted:
                    break
            store.errors.extend([FULL, FULL])

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill)
            nursery.start_soon(shop.apps.delete, "shop", lambda _: None)
        assert trio.current_time() - began >= 5
        assert not (await store.read_all()).documents


async def test_an_app_that_is_being_deleted_takes_nothing(autojump_clock: Clock) -> None:
    async with open_shop(World(spawner=FakeSpawner(obey=False))) as shop:
        await shop.deploy_and_wait(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shop.apps.delete, "shop", lambda _: None)
            await trio.sleep(1)
            with pytest.raises(AppNotFoundError):
                await shop.deploy(2)


async def test_a_disk_that_hangs_is_given_up(autojump_clock: Clock) -> None:
    store = FakeStore()
    record = AppRecord(store, AppState(name="shop", created_at=EPOCH))
    await record.change(lambda state: state)
    store.hang()
    for write in (
        partial(record.change, lambda state: attrs.evolve(state, version=2)),
        record.remove,
    ):
        with pytest.raises(StateFailedError, match="does not answer"):
            await write()
    assert record.state.version == 1


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"v": 7}, "expected a document of version 1, found 7"),
        ({"v": 1, "name": 3}, "expected the document of an app"),
    ],
)
def test_a_document_of_another_agent_is_refused(value: dict[str, object], match: str) -> None:
    with pytest.raises(StartError, match=match):
        parse_app((KIND, "shop"), value)


async def test_a_slot_that_stops_is_waited_for(autojump_clock: Clock) -> None:
    """As when fewer were wanted, and more again, before the first were gone."""
    world = World(spawner=FakeSpawner(obey=False))
    async with open_shop(world) as shop:
        await shop.deploy_and_wait(1)
        await shop.apps.change("shop", partial(scale, counts={"web": 1}, now=EPOCH))
        await trio.sleep(1)
        assert shop.supervisor.get("shop.web.1").state is State.STOPPING
        _, wanted = await shop.apps.change("shop", partial(scale, counts={"web": 2}, now=EPOCH))
        await shop.app.wait_rollout(wanted)
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]


async def test_a_slot_that_cannot_be_kept_is_a_failure(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        await shop.deploy_and_wait(1)
        _, wanted = await shop.apps.change("shop", partial(scale, counts={"web": 3}, now=EPOCH))
        store.errors.append(FULL)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert (state.rollout.state, state.rollout.error) == (
            "halted",
            "shop.web.2: the disk is full",
        )


async def test_a_first_slot_is_called_off_with_the_others(autojump_clock: Clock) -> None:
    """Two are made at once, one of them fails: nothing of either is left."""
    async with open_shop() as shop:
        wanted = await shop.deploy(1, parallel=2)
        await trio.sleep(1)
        shop.world.spawner.children[0].exit(1)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.state == "failed"
        assert len(shop.supervisor) == 0


async def test_replacements_are_called_off_with_the_others(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1, parallel=2)
        wanted = await shop.deploy(2, parallel=2)
        await trio.sleep(1)
        shop.world.spawner.children[2].exit(1)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.state == "rolled back"
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]
        assert len(shop.world.spawner.living) == 2


async def test_a_slot_that_runs_once_is_watched_no_longer(autojump_clock: Clock) -> None:
    """It has ended well: that is all that it was to do."""
    files = FakeWorkspaces(procfile=b"web: serve\nonce: seed\n")

    async with open_shop(World(workspaces=files)) as shop:
        from tests.apps.world import want

        def once(state: AppState) -> AppState:
            changed: AppState = want(1, {"once": 1})(state)
            release = changed.releases[-1]
            options = attrs.evolve(release.types["web"], restart=RestartPolicy.NEVER)
            return changed.with_release(attrs.evolve(release, types={"once": options}))

        _, wanted = await shop.apps.put("shop", once)
        child = await shop.world.spawner.next_child()
        child.exit(0)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.state == "done"


async def test_a_hook_that_cannot_be_made_is_a_failure(autojump_clock: Clock) -> None:
    files = FakeWorkspaces(procfile=b"web: serve\nrelease: migrate\n")
    store = FakeStore()
    async with open_shop(World(workspaces=files, state=store)) as shop:
        wanted = await shop.deploy(1)
        while ("process", "shop.release.1") not in store.writes:
            if store.writes.count(("app", "shop")) == 3 and not store.errors:
                store.errors.append(FULL)  # The next one is that of its process.
                break
            await trio.lowlevel.checkpoint()
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.error == "releasing: the disk is full"


async def test_a_hook_may_find_the_agent_stopping(autojump_clock: Clock) -> None:
    files = FakeWorkspaces(procfile=b"web: serve\nrelease: migrate\n", delay=1)
    async with open_shop(World(workspaces=files)) as shop:
        wanted = await shop.deploy(1)
        await trio.sleep(0.5)
        shop.supervisor.close()
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.error == "releasing: the agent is stopping and takes no new process"


async def test_the_last_lines_of_a_build_are_told(autojump_clock: Clock) -> None:
    world = World()
    async with open_shop(world) as shop:
        world.spawner.errors.append(SpawnError("no memory"))
        state = await shop.deploy_and_wait(1)
        assert state.rollout is not None
        assert state.rollout.error == "shop.web.0: no memory"


def test_old_releases_are_forgotten_but_those_that_are_needed() -> None:
    state = AppState(name="shop", created_at=EPOCH)
    release = Release(number=0, created_at=EPOCH, source_url="http://127.0.0.1/1.zip")
    state = begin_release(state, release, EPOCH)
    state = end_rollout(state, "done", EPOCH)
    for _ in range(40):
        state = end_rollout(begin_release(state, release, EPOCH), "failed", EPOCH)
    numbers = [one.number for one in state.releases]
    assert len(numbers) == KEPT_RELEASES
    assert (numbers[0], numbers[-1], state.serving, state.wanted) == (1, 41, 1, 1)


def test_what_is_on_its_way_can_be_rolled_back() -> None:
    """To the one that serves."""
    state = AppState(name="shop", created_at=EPOCH)
    release = Release(number=0, created_at=EPOCH, source_url="http://127.0.0.1/1.zip")
    state = end_rollout(begin_release(state, release, EPOCH), "done", EPOCH)
    state = begin_release(state, release, EPOCH)
    state = begin_rollback(state, None, EPOCH)
    assert state.releases[-1].rollback_of == 1
    assert [one.outcome for one in state.releases] == ["done", "superseded", "rolling"]


def test_counts_that_change_are_superseded_by_a_release() -> None:
    state = AppState(name="shop", created_at=EPOCH)
    release = Release(number=0, created_at=EPOCH, source_url="http://127.0.0.1/1.zip")
    state = end_rollout(begin_release(state, release, EPOCH), "done", EPOCH)
    state = scale(state, {"web": 3}, EPOCH)
    state = begin_release(state, release, EPOCH)
    assert [one.outcome for one in state.releases] == ["done", "rolling"]


async def test_a_release_that_fails_early_takes_back_what_was_superseded(
    autojump_clock: Clock,
) -> None:
    """It has touched nothing, but the one before it has."""
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        await shop.deploy(2)
        while shop.running[0][1] != 2:  # noqa: ASYNC110  # The clock is virtual.
            await trio.sleep(1)
        shop.world.workspaces.errors.append(UnpackError("damaged"))
        state = await shop.deploy_and_wait(3)
        assert state.rollout is not None
        assert (state.rollout.state, state.rollout.error) == ("rolled back", "unpacking: damaged")
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]


async def test_none_of_any_type(autojump_clock: Clock) -> None:
    """Nothing has to be fetched for that."""
    async with open_shop() as shop:
        state = await shop.deploy_and_wait(1, {"web": 0})
        assert state.rollout is not None
        assert (state.rollout.state, shop.world.fetcher.requests) == ("done", [])


async def test_archives_of_old_releases_may_go(autojump_clock: Clock) -> None:
    """Those of the release that serves, and of the one before it, are in use."""
    async with open_shop() as shop:
        for number in range(4):
            shop.world.fetcher.content = None
            await shop.deploy_and_wait(number, {"web": 1}, watch=0, drain=0)
        assert len(shop.app._pinned) <= 2


async def test_the_output_of_a_build_is_cut_to_its_last_lines() -> None:
    lines = _LastLines()
    lines.publish(Stream.STDOUT, b"".join(b"%d\n" % number for number in range(50)))
    assert list(lines.lines) == [str(number) for number in range(30, 50)]


async def test_a_slug_that_somebody_takes_meanwhile(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        shop.world.fetcher.delay = 1
        wanted = await shop.deploy(1)
        shop.supervisor.create(make_spec("shop", "web.1"))
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.error == "shop.web.1: the slug 'shop.web.1' is in use"


async def test_one_who_waits_for_an_app_that_is_deleted(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        wanted = await shop.deploy(1)
        app = shop.app
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.wait_rollout, wanted)
            await settle()
            await shop.apps.delete("shop", lambda _: None)
        assert app.gone.is_set()


class Held:
    """An archive that is in use."""

    def __init__(self) -> None:
        self.released = False

    async def release(self) -> None:
        await trio.lowlevel.checkpoint()
        self.released = True


async def test_an_archive_that_nobody_needs_may_go(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        held = Held()
        shop.app._pinned["0" * 64] = held  # type: ignore[assignment]  # all that it needs
        await shop.deploy_and_wait(2)
        assert held.released


async def test_a_release_command_of_an_earlier_life_is_removed(autojump_clock: Clock) -> None:
    """After a SIGKILL, which removes nothing."""
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        await shop.deploy_and_wait(1)
        left = shop.supervisor.create(make_spec("shop", "release.1", owner="shop", release=1))
        await left.wait_kept()
    async with open_shop(World(state=store)) as shop:
        assert len(shop.supervisor) == 3
        await trio.sleep(1)
        assert len(shop.supervisor) == 2
        assert shop.apps.find("shop") is shop.app


async def test_a_document_that_cannot_be_removed_is_tried_again(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        await shop.deploy_and_wait(1, {"web": 0})
        app = shop.app

        async def fill() -> None:
            while True:
                await trio.lowlevel.checkpoint()
                if app.state.is_deleted:
                    break
            store.errors.append(FULL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill)
            nursery.start_soon(shop.apps.delete, "shop", lambda _: None)
        assert trio.current_time() == 5
        assert not (await store.read_all()).documents


async def test_one_that_is_kept_as_the_agent_stops_is_for_the_next_life(
    autojump_clock: Clock,
) -> None:
    store = FakeStore()
    refused = False
    async with open_shop(World(state=store)) as shop:

        async def deploy() -> None:
            nonlocal refused
            try:
                await shop.deploy(1)
            except StoppingError:
                refused = True

        # The block is a part of what `close` cancels.
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                store.hang()
                nursery.start_soon(deploy)
                await settle()
                shop.apps.close()
                shop.supervisor.close()
                store.go_on()
    assert refused
    async with open_shop(World(state=store)) as shop:
        await shop.app.wait_rollout(1)
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]
