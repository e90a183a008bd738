"""Apps on the virtual clock: deploy, roll back, scale, delete."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.apps.changes import begin_rollback, scale
from smartmob_agent.apps.registry import AppNotFoundError, SlugsInUseError
from smartmob_agent.errors import DownloadError, StoppingError, UnpackError
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeSpawner, FakeStore, FakeWorkspaces
from tests.apps.world import open_shop, want
from tests.process.world import EPOCH, World, make_spec, settle

Clock = trio.testing.MockClock


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110  # The clock is virtual.
        await trio.sleep(0.5)


async def test_the_first_release_starts_slot_by_slot(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        wanted = await shop.deploy()
        await trio.sleep(1)
        assert [one.slug for one in shop.supervisor] == ["shop.web.0"]
        assert attrs.astuple(shop.app.progress) == ("rolling", "shop.web.0", 0, 2)
        state = await shop.app.wait_rollout(wanted)
        assert trio.current_time() == 14
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]
        assert (state.serving, state.wanted) == (1, 1)
        assert state.rollout is not None
        assert state.rollout.state == "done"
        assert attrs.astuple(shop.app.progress) == ("done", "", 2, 2)
        assert shop.supervisor.get("shop.web.0").spec.owner == "shop"


async def test_the_next_release_replaces_them_without_a_gap(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        wanted = await shop.deploy(2)
        await until(lambda: len(shop.running) == 2 and shop.running[1][1] == 2)
        state = await shop.app.wait_rollout(wanted)
        # Two times start and drain; the second one is watched on.
        assert trio.current_time() == 14 + 2 * (2 + 5) + 5
        assert shop.running == [("shop.web.0", 2), ("shop.web.1", 2)]
        assert state.serving == 2
        assert len(shop.world.spawner.living) == 2


@pytest.mark.parametrize(("parallel", "seconds"), [(1, 28), (2, 14), (4, 7)])
async def test_so_many_at_once(parallel: int, seconds: float, autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1, {"web": 4}, parallel=parallel, watch=0)
        began = trio.current_time()
        most = 0
        wanted = await shop.deploy(2, parallel=parallel, watch=0)
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                nonlocal most
                while True:
                    await trio.sleep(0.5)
                    most = max(most, len(shop.world.spawner.living))

            nursery.start_soon(look)
            await shop.app.wait_rollout(wanted)
            nursery.cancel_scope.cancel()
        assert (trio.current_time() - began, most) == (seconds, 4 + parallel)


async def test_a_bad_release_goes_back(autojump_clock: Clock) -> None:
    """The first slot had it for good, the second one does not come up."""
    async with open_shop() as shop:
        await shop.deploy_and_wait(1, watch=1)
        wanted = await shop.deploy(2, watch=1)
        await until(lambda: shop.running[0][1] == 2)
        await until(lambda: len(shop.world.spawner.children) == 4)
        bad = shop.world.spawner.children[-1]
        bad.write(b"no flask\n")
        await settle()
        bad.exit(1)
        state = await shop.app.wait_rollout(wanted)
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]
        assert (state.serving, state.wanted, state.last) == (1, 1, 2)
        rollout, release = state.rollout, state.release(2)
        assert rollout is not None
        assert release is not None
        assert rollout.state == "rolled back"
        assert release.outcome == "failed"
        assert str(rollout.error).startswith("shop.web.1: the child ended with exit code 1")
        assert (rollout.step, rollout.lines) == ("shop.web.1: waiting", ("no flask",))
        assert len(shop.world.spawner.living) == 2


async def test_one_that_ends_while_it_is_watched_goes_back(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        wanted = await shop.deploy(2)
        await until(lambda: shop.running[0][1] == 2)
        shop.world.spawner.children[2].exit(1)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.state == "rolled back"
        assert "it ended while it was watched" in str(state.rollout.error)
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]


async def test_one_that_halts_is_left(autojump_clock: Clock) -> None:
    """What comes later is of the new release."""
    async with open_shop() as shop:
        await shop.deploy_and_wait(1, watch=1)
        wanted = await shop.deploy(2, watch=1, on_failure="halt")
        await until(lambda: len(shop.world.spawner.children) == 4)
        shop.world.spawner.children[-1].exit(1)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert (state.rollout.state, state.serving, state.wanted) == ("halted", 1, 2)
        assert shop.running == [("shop.web.0", 2), ("shop.web.1", 1)]
        _, wanted = await shop.apps.change("shop", partial(scale, counts={"web": 3}, now=EPOCH))
        state = await shop.app.wait_rollout(wanted)
        assert shop.running[2] == ("shop.web.2", 2)


@pytest.mark.parametrize(("on_failure", "left"), [("rollback", 0), ("halt", 1)])
async def test_a_first_release_that_fails(
    on_failure: str, left: int, autojump_clock: Clock
) -> None:
    """There is nothing to go back to; why it failed is told."""
    async with open_shop() as shop:
        wanted = await shop.deploy(1, on_failure=on_failure)
        child = await shop.world.spawner.next_child()
        child.write(b"oops\n")
        await settle()
        child.exit(1)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert state.rollout.state == ("failed" if on_failure == "rollback" else "halted")
        assert state.rollout.lines == ("oops",)
        assert state.serving is None
        assert len(shop.supervisor) == left


@pytest.mark.parametrize("kind", ["download", "unpack", "type"])
async def test_nothing_is_touched_by_what_cannot_be_fetched(
    kind: str, autojump_clock: Clock
) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        if kind == "download":
            shop.world.fetcher.errors.append(DownloadError("404"))
        elif kind == "unpack":
            shop.world.workspaces.errors.append(UnpackError("damaged"))
        counts = {"web": 2, "worker": 1} if kind == "type" else None
        state = await shop.deploy_and_wait(2, counts)
        assert state.rollout is not None
        assert state.rollout.state == "failed"
        step = {"download": "downloading", "unpack": "unpacking", "type": "processing"}[kind]
        assert state.rollout.step == step
        assert (state.serving, state.wanted) == (1, 1)
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]
        assert len(shop.world.spawner.children) == 2


def hooked() -> World:
    return World(workspaces=FakeWorkspaces(procfile=b"web: serve\nrelease: migrate\n"))


async def test_the_release_command_runs_once_before_the_slots(autojump_clock: Clock) -> None:
    async with open_shop(hooked()) as shop:
        wanted = await shop.deploy(1)
        child = await shop.world.spawner.next_child()
        assert child.command.env["SMARTMOB_SLUG"] == "shop.release.1"
        await trio.sleep(5)
        assert shop.app.progress.state == "releasing"
        assert len(shop.supervisor) == 1
        child.exit(0)
        await shop.app.wait_rollout(wanted)
        assert [one.slug for one in shop.supervisor] == ["shop.web.0", "shop.web.1"]
        assert len(shop.world.spawner.children) == 3


@pytest.mark.parametrize("how", ["exit", "late", "spawn"])
async def test_a_release_command_that_fails_touches_nothing(
    how: str, autojump_clock: Clock
) -> None:
    async with open_shop(hooked()) as shop:
        wanted = await shop.deploy(1)
        child = await shop.world.spawner.next_child()
        child.write(b"migrating\n")
        await settle()
        if how == "exit":
            child.exit(3)
        elif how == "spawn":
            shop.supervisor.get("shop.release.1").stop()
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert (state.rollout.state, state.rollout.step) == ("failed", "releasing")
        assert state.rollout.lines == ("migrating",)
        expected = {
            "exit": "releasing: the release command ended with exit code 3",
            "late": "releasing: the release command has not ended after 600 s",
            "spawn": "releasing: the agent is stopping",
        }
        assert state.rollout.error == expected[how]
        await settle()
        assert len(shop.supervisor) == 0


async def test_the_formation_of_the_archive_is_taken_first(autojump_clock: Clock) -> None:
    files = FakeWorkspaces(
        procfile=b"web: serve\nworker: work\n",
        app_json=b'{"formation": {"web": {"quantity": 1}, "worker": {"quantity": 2}}}',
    )

    def without_counts(state: object) -> object:
        changed = want(1)(state)
        return attrs.evolve(changed, counts={}, has_counts=False)

    async with open_shop(World(workspaces=files)) as shop:
        _, wanted = await shop.apps.put("shop", without_counts)  # type: ignore[arg-type]
        await shop.app.wait_rollout(wanted)
        assert [slug for slug, _ in shop.running] == [
            "shop.web.0",
            "shop.worker.0",
            "shop.worker.1",
        ]


async def test_a_newer_release_supersedes_one_under_way(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        first = await shop.deploy(2)
        await trio.sleep(1)
        second = await shop.deploy(3)
        state = await shop.app.wait_rollout(first)
        assert [one.outcome for one in state.releases] == ["done", "superseded", "rolling"]
        state = await shop.app.wait_rollout(second)
        assert shop.running == [("shop.web.0", 3), ("shop.web.1", 3)]
        assert [one.outcome for one in state.releases] == ["done", "superseded", "done"]
        assert len(shop.world.spawner.living) == 2


async def test_an_end_that_is_kept_too_late_is_not_that_of_the_next(autojump_clock: Clock) -> None:
    """The next release is wanted while the disk hangs, and the one before ends meanwhile."""
    store = FakeStore()
    async with open_shop(World(state=store)) as shop, trio.open_nursery() as nursery:
        await shop.deploy_and_wait(1)
        began = trio.current_time()
        await shop.deploy_and_wait(2)
        duration = trio.current_time() - began
        await shop.deploy(3)
        await trio.sleep(duration - 1)
        store.hang()
        nursery.start_soon(shop.deploy, 4)
        await trio.sleep(2)
        store.go_on()
        await settle()
        outcomes = [one.outcome for one in shop.app.state.releases]
        assert outcomes == ["done", "done", "superseded", "rolling"]
        await shop.app.wait_rollout(shop.app.state.version)
        assert shop.running == [("shop.web.0", 4), ("shop.web.1", 4)]


async def test_back_to_what_was_without_a_server(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        await shop.deploy_and_wait(2)
        shop.world.fetcher.errors += [DownloadError("gone")] * 9
        back = partial(begin_rollback, to=None, now=EPOCH)
        _, wanted = await shop.apps.change("shop", back)
        state = await shop.app.wait_rollout(wanted)
        assert state.rollout is not None
        assert (state.rollout.state, state.serving) == ("done", 3)
        assert state.releases[-1].rollback_of == 1
        assert shop.running == [("shop.web.0", 3), ("shop.web.1", 3)]
        assert len(shop.world.fetcher.requests) == 2


async def test_counts_change_without_a_release(autojump_clock: Clock) -> None:
    """The highest numbers go first."""
    async with open_shop() as shop:
        await shop.deploy_and_wait(1, {"web": 3})
        began = trio.current_time()
        _, wanted = await shop.apps.change("shop", partial(scale, counts={"web": 1}, now=EPOCH))
        await shop.app.wait_rollout(wanted)
        assert trio.current_time() == began
        assert shop.running == [("shop.web.0", 1)]
        _, wanted = await shop.apps.change("shop", partial(scale, counts={"web": 2}, now=EPOCH))
        state = await shop.app.wait_rollout(wanted)
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]
        assert (state.last, len(shop.world.spawner.children)) == (1, 4)


async def test_counts_change_while_a_release_rolls(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        wanted = await shop.deploy(2)
        await trio.sleep(1)
        await shop.apps.change("shop", partial(scale, counts={"web": 3}, now=EPOCH))
        state = await shop.app.wait_rollout(wanted)
        assert shop.running == [(f"shop.web.{number}", 2) for number in range(3)]
        assert state.serving == 2


@pytest.mark.parametrize("after", [0, 1, 3, 20])
async def test_a_delete_leaves_nothing(after: float, autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        await shop.deploy(2)
        await trio.sleep(after)
        await shop.apps.delete("shop", lambda _: None)
        assert len(shop.supervisor) == len(shop.apps) == 0
        assert not shop.world.spawner.living
        with pytest.raises(AppNotFoundError):
            shop.apps.get("shop")


async def test_a_slug_of_somebody_else_is_refused(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        shop.supervisor.create(make_spec("shop", "web.1"))
        with pytest.raises(SlugsInUseError, match=r"'shop\.web\.1'"):
            await shop.deploy()
        assert len(shop.apps) == 0
        await shop.supervisor.delete("shop.web.1")
        await shop.deploy_and_wait()


async def test_an_agent_that_stops_takes_nothing(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        shop.supervisor.close()
        with pytest.raises(StoppingError):
            await shop.deploy()


async def test_what_was_rolled_out_comes_back(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        await shop.deploy_and_wait(1)
        await shop.deploy_and_wait(2)
    async with open_shop(World(state=store)) as shop:
        await trio.sleep(10)
        assert shop.running == [("shop.web.0", 2), ("shop.web.1", 2)]
        assert shop.app.state.serving == 2
        assert shop.app.progress.state == "done"


@pytest.mark.parametrize("after", [0, 0.5, 1, 2, 4, 8, 12])
async def test_a_rollout_goes_on_in_the_next_life(after: float, autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        await shop.deploy_and_wait(1)
        await shop.deploy(2)
        await trio.sleep(after)
    async with open_shop(World(state=store)) as shop:
        state = await shop.app.wait_rollout(shop.app.state.version)
        assert state.serving == 2
        assert shop.running == [("shop.web.0", 2), ("shop.web.1", 2)]


async def test_one_that_goes_back_does_so_in_the_next_life(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store, spawner=FakeSpawner(obey=False))) as shop:
        await shop.deploy_and_wait(1, watch=1)
        await shop.deploy(2, watch=1)
        await until(lambda: len(shop.world.spawner.children) == 4)
        shop.world.spawner.children[-1].exit(1)
        await trio.sleep(1)
        assert shop.app.progress.step.startswith("going back")
    async with open_shop(World(state=store)) as shop:
        state = await shop.app.wait_rollout(shop.app.state.version)
        assert state.rollout is not None
        assert (state.rollout.state, state.serving, state.wanted) == ("rolled back", 1, 1)
        assert str(state.rollout.error).startswith("shop.web.1: the child ended with")
        assert shop.running == [("shop.web.0", 1), ("shop.web.1", 1)]


async def test_an_interrupted_release_command_is_not_run_again(autojump_clock: Clock) -> None:
    store = FakeStore()
    world = attrs.evolve(hooked(), state=store)
    async with open_shop(world) as shop:
        await shop.deploy(1)
        await shop.world.spawner.next_child()
        await trio.sleep(1)
    async with open_shop(attrs.evolve(hooked(), state=store)) as shop:
        state = await shop.app.wait_rollout(shop.app.state.version)
        assert state.rollout is not None
        assert "was interrupted" in str(state.rollout.error)
        await settle()
        assert len(shop.supervisor) == 0


async def test_a_delete_goes_on_in_the_next_life(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store, spawner=FakeSpawner(obey=False))) as shop:
        await shop.deploy_and_wait(1)
        with trio.move_on_after(1):
            await shop.apps.delete("shop", lambda _: None)
    async with open_shop(World(state=store)) as shop:
        await trio.sleep(1)
        assert len(shop.supervisor) == len(shop.apps) == 0
    assert not (await store.read_all()).documents


async def test_processes_of_an_app_that_is_gone_are_removed(autojump_clock: Clock) -> None:
    store = FakeStore()
    async with open_shop(World(state=store)) as shop:
        process = shop.supervisor.create(make_spec("shop", owner="shop", release=1))
        await process.wait_kept()
    async with open_shop(World(state=store)) as shop:
        await trio.sleep(1)
        assert len(shop.supervisor) == 0


async def test_a_state_of_a_slot_is_seen_as_any_other(autojump_clock: Clock) -> None:
    async with open_shop() as shop:
        await shop.deploy_and_wait(1)
        process = shop.supervisor.get("shop.web.1")
        process.restart()
        await process.wait_ready()
        assert process.state is State.RUNNING
