"""Builds on the virtual clock: who builds, who waits, who copies, and what becomes of failures."""

from __future__ import annotations

import logging
import signal
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock as Clock

from smartmob_agent.child.seam import Exit
from smartmob_agent.config.settings import AgentConfig, BuildLimits
from smartmob_agent.errors import (
    BuildError,
    ExecError,
    SpawnError,
    TransientError,
    UnpackError,
)
from smartmob_agent.output.console import Console
from smartmob_agent.process.preparation import BuildInfo
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.states import State, WrongStateError
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.source.download.seam import Fetched, FetchRequest
from smartmob_agent.testing import FakeBuilder, FakeChild, FakeFetcher, FakeSpawner, FakeWorkspaces
from tests.determinism.memory_agent import check_nothing_left
from tests.process.world import World, make_spec, settle


def make_world(*builders: FakeBuilder, **changes: Any) -> World:
    return World(builders=builders or (FakeBuilder(),), **changes)


async def building(world: World, supervisor: Supervisor, **spec: Any) -> FakeChild:
    """Create a process; return the child that builds."""
    supervisor.create(make_spec(**spec))
    child = await world.spawner.next_child()
    assert child.command.argv[0] == "fake/build"
    return child


def text_of(console: Console) -> bytes:
    return b"".join(getattr(item, "text", b"") for item in console.items)


async def test_an_app_is_built_before_its_first_start(autojump_clock: Clock) -> None:
    world = make_world()
    world.workspaces.cache.trees.env = {"PATH.prepend": b"$APP_DIR/bin\n", "MODE": b"x"}
    async with world.open() as supervisor:
        child = await building(world, supervisor, env={"KEY": "value", "PORT": "1"})
        process = supervisor.get("app.web.0")
        assert (process.state, process.pid) == (State.BUILDING, None)
        scratch = world.workspaces.cache.trees.scratches[0]
        assert child.command.argv[1:] == (
            str(scratch.app),
            str(scratch.env),
            "/nonexistent/builders/fake",
        )
        assert child.command.cwd == scratch.app
        assert child.command.env == {
            "PATH": "/usr/bin",
            "PYTHONUNBUFFERED": "1",
            "KEY": "value",
            "HOME": str(scratch.home),
            "TMPDIR": str(scratch.temporary),
        }
        child.write(b"installing\n")
        await trio.sleep(3)
        child.exit(0)
        await process.wait_state(State.RUNNING)
        assert process.files.build == BuildInfo(builder="fake", cached=False, seconds=3.0)
        assert text_of(process.console) == b"installing\n"
        running = await world.spawner.next_child()
        assert running.command.env["PATH"] == "/nonexistent/app.web.0/app/bin:/usr/bin"
        assert running.command.env["MODE"] == "x"
        assert process.starts == 1
    check_nothing_left(world)


async def test_nobody_builds_what_nobody_wants(autojump_clock: Clock) -> None:
    world = make_world(FakeBuilder(takes=False))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.RUNNING)
        other = supervisor.create(make_spec(node="web.1"))
        await other.wait_state(State.RUNNING)
        assert (process.files.build, other.files.build) == (None, None)
    check_nothing_left(world)


async def test_a_process_may_ask_for_no_build(autojump_clock: Clock) -> None:
    world = make_world()
    async with world.open() as supervisor:
        process = supervisor.create(make_spec(build="never"))
        await process.wait_state(State.RUNNING)
        assert process.files.build is None


async def test_many_processes_share_one_build(autojump_clock: Clock) -> None:
    """Also one that comes in the middle, and one that comes later."""
    world = make_world(workspaces=FakeWorkspaces(delay=1.0, copy_delay=0.5))
    async with world.open() as supervisor:
        names = [f"web.{number}" for number in range(50)]
        processes = [supervisor.create(make_spec(node=name)) for name in names]
        child = await world.spawner.next_child()
        await trio.sleep(2)
        processes.append(supervisor.create(make_spec(node="late")))
        await settle()
        child.write(b"so far\n")
        child.exit(0)
        for process in processes:
            await process.wait_state(State.RUNNING)
        processes.append(supervisor.create(make_spec(node="later")))
        await processes[-1].wait_state(State.RUNNING)
        builds = [process.files.build for process in processes]
        assert [build.cached for build in builds if build].count(False) == 1
        assert len(builds) == 52
        starts = [one.command.argv[0] for one in world.spawner.children]
        assert starts == ["fake/build", *["/bin/sh"] * 52]
        lines = [text_of(process.console) for process in processes]
        assert lines == [b"so far\n"] * 51 + [b""]
    check_nothing_left(world)


@pytest.mark.parametrize(
    "change",
    [{"env": {"A": "1"}}, {"source_url": "http://127.0.0.1/other.zip"}],
    ids=["env", "source"],
)
async def test_what_differs_is_built_apart(change: dict[str, Any], autojump_clock: Clock) -> None:
    world = make_world(fetcher=DifferentFetcher())
    async with world.open() as supervisor:
        (await building(world, supervisor)).exit(0)
        await supervisor.get("app.web.0").wait_state(State.RUNNING)
        await world.spawner.next_child()
        other = supervisor.create(make_spec(node="web.1", **change))
        child = await world.spawner.next_child()
        assert child.command.argv[0] == "fake/build"
        child.exit(0)
        await other.wait_state(State.RUNNING)
    check_nothing_left(world)


class DifferentFetcher(FakeFetcher):
    """The digest is that of the URL."""

    async def fetch(self, request: FetchRequest) -> Fetched:
        fetched = await super().fetch(request)
        assert fetched is not None
        return attrs.evolve(fetched, sha256=request.url.encode().hex().ljust(64, "0")[-64:])


async def test_another_version_of_a_builder_builds_again(autojump_clock: Clock) -> None:
    builder = FakeBuilder()
    world = make_world(builder)
    async with world.open() as supervisor:
        for version in "12":
            builder.current_version = version
            (await building(world, supervisor)).exit(0)
            await supervisor.get("app.web.0").wait_state(State.RUNNING)
            await world.spawner.next_child()
            await supervisor.delete("app.web.0")
        assert len(world.workspaces.cache.trees.trees) == 2


async def test_a_crash_does_not_build(autojump_clock: Clock) -> None:
    world = make_world()
    async with world.open() as supervisor:
        (await building(world, supervisor)).exit(0)
        process = supervisor.get("app.web.0")
        (await world.spawner.next_child()).exit(1)
        assert (await world.spawner.next_child()).command.argv[0] == "/bin/sh"
        await process.wait_state(State.RUNNING)
        process.restart()
        assert (await world.spawner.next_child()).command.argv[0] == "/bin/sh"
        assert len(world.workspaces.cache.trees.scratches) == 1


async def test_a_failed_build_is_final_until_someone_asks(autojump_clock: Clock) -> None:
    """The error has the last lines, without what is secret and without colours."""
    world = make_world()
    async with world.open() as supervisor:
        child = await building(world, supervisor, env={"TOKEN": "s3cr3t-token", "N": "1"})
        child.write(b"\x1b[31mno such package\x1b[0m\nhttps://user:pass@host/x s3cr3t-token 1\n\n")
        await trio.sleep(1.5)
        child.exit(2)
        process = supervisor.get("app.web.0")
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error == (
            "the build by 'fake' ended with exit code 2 after 1.5 s: "
            "no such package | https://host/x *** 1"
        )
        await trio.sleep(1000)
        assert process.state.value == "build failure"
        assert world.workspaces.cache.trees.trees == {}
        process.restart()
        (await world.spawner.next_child()).exit(0)
        await process.wait_started(0)
        assert (process.starts, str(process.error)) == (1, "None")
        assert len(world.fetcher.requests) == 1  # The archive was kept meanwhile.
    check_nothing_left(world)


async def test_all_that_wait_learn_of_a_failure(autojump_clock: Clock) -> None:
    """And the next process builds again: nothing is known to fail for ever."""
    world = make_world()
    async with world.open() as supervisor:
        child = await building(world, supervisor)
        other = supervisor.create(make_spec(node="web.1"))
        await settle()
        child.exit(1)
        await other.wait_state(State.BUILD_FAILURE)
        await supervisor.get("app.web.0").wait_state(State.BUILD_FAILURE)
        assert other.error == "the build by 'fake' ended with exit code 1 after 0.0 s"
        third = supervisor.create(make_spec(node="web.2"))
        (await world.spawner.next_child()).exit(0)
        await third.wait_state(State.RUNNING)
    check_nothing_left(world)


async def test_a_build_that_hangs_is_killed(autojump_clock: Clock) -> None:
    config = AgentConfig(build=BuildLimits(timeout=60.0))
    world = make_world(config=config, spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        child = await building(world, supervisor)
        process = supervisor.get("app.web.0")
        await process.wait_state(State.BUILD_FAILURE)
        assert trio.current_time() == 60.0
        assert process.error == "the build by 'fake' was not done in 60 s (--build-timeout)"
        assert child.killed.is_set()
    check_nothing_left(world)


async def test_a_build_that_fills_the_disk_is_killed(autojump_clock: Clock) -> None:
    world = make_world()
    async with world.open() as supervisor:
        child = await building(world, supervisor)
        world.workspaces.cache.trees.scratches[0].full.set()
        process = supervisor.get("app.web.0")
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error == (
            "the build by 'fake' left too little of the disk free (--min-free-bytes)"
        )
        assert child.killed.is_set()
    check_nothing_left(world)


async def test_a_build_that_not_even_a_kill_ends_is_told(autojump_clock: Clock) -> None:
    world = make_world()
    async with world.open() as supervisor:
        child = await building(world, supervisor)
        child.unkillable = True
        child.closes_pipes = False
        child.stuck = (child.pid,)
        process = supervisor.get("app.web.0")
        child._exit = Exit(code=0)
        child._exited.set()  # The rest of its tree sleeps in the kernel.
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error == f"not even SIGKILL ends pid {child.pid} of the build"
        child.let_go()
    check_nothing_left(world)


@pytest.mark.parametrize("error", [SpawnError("no memory"), TransientError("disk full")])
async def test_what_may_mend_itself_is_tried_again(
    error: TransientError, autojump_clock: Clock
) -> None:
    world = make_world()
    if isinstance(error, SpawnError):
        world.spawner.errors.append(error)
    else:
        world.workspaces.cache.trees.errors.append(error)
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        if not isinstance(error, SpawnError):
            (await world.spawner.next_child()).exit(0)
        await process.wait_state(State.BACKOFF)
        assert process.error == str(error)
        (await world.spawner.next_child()).exit(0)
        await process.wait_state(State.RUNNING)
        assert trio.current_time() == 1.0
    check_nothing_left(world)


async def test_a_builder_that_is_no_program_is_told(autojump_clock: Clock) -> None:
    world = make_world(spawner=FakeSpawner(missing={"fake/build"}))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error == (
            "the builder 'fake': cannot start 'fake/build': No such file or directory"
        )


async def test_a_builder_that_cannot_be_read_is_told(autojump_clock: Clock) -> None:
    world = make_world(FakeBuilder(errors=[BuildError("it is gone")]))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error == "it is gone"


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"not-a-name": b"x"}, "ENV_DIR: expected files NAME and NAME.prepend, found 'not-a-name'"),
        ({"A": b"\xff"}, "ENV_DIR: A: expected UTF-8"),
        ({"A": b"a\0b"}, "ENV_DIR: A: expected a value without NUL"),
    ],
)
async def test_a_build_that_leaves_no_variables_but_something_else_fails(
    files: dict[str, bytes], error: str, autojump_clock: Clock
) -> None:
    world = make_world()
    world.workspaces.cache.trees.env = files
    async with world.open() as supervisor:
        (await building(world, supervisor)).exit(0)
        process = supervisor.get("app.web.0")
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error == f"the build by 'fake' cannot be kept: {error}"
    check_nothing_left(world)


async def test_a_damaged_build_is_made_again(autojump_clock: Clock) -> None:
    world = make_world()
    async with world.open() as supervisor:
        (await building(world, supervisor)).exit(0)
        await supervisor.get("app.web.0").wait_state(State.RUNNING)
        await world.spawner.next_child()
        [tree] = world.workspaces.cache.trees.trees.values()
        tree.damaged = True
        other = supervisor.create(make_spec(node="web.1"))
        await other.wait_state(State.BACKOFF)
        (await world.spawner.next_child()).exit(0)
        await other.wait_state(State.RUNNING)
    check_nothing_left(world)


async def test_deleting_one_of_two_leaves_the_build_to_the_other(autojump_clock: Clock) -> None:
    """Also if it is the one that has given the files."""
    world = make_world()
    async with world.open() as supervisor:
        child = await building(world, supervisor)
        other = supervisor.create(make_spec(node="web.1"))
        await settle()
        await supervisor.delete("app.web.0")
        assert not child.killed.is_set()
        child.exit(0)
        await other.wait_state(State.RUNNING)
        assert other.files.build is not None
        assert other.files.build.cached
    check_nothing_left(world)


async def test_deleting_the_last_one_kills_the_build_at_once(autojump_clock: Clock) -> None:
    world = make_world(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        child = await building(world, supervisor)
        began = trio.current_time()
        await supervisor.delete("app.web.0")
        assert (child.killed.is_set(), child.terminated.is_set()) == (True, False)
        assert trio.current_time() == began
    check_nothing_left(world)


async def test_deleting_the_one_that_gives_lets_the_others_try_again(autojump_clock: Clock) -> None:
    """It was copying to another disk: what has arrived is of no use."""
    world = make_world(workspaces=FakeWorkspaces(copy_delay=5.0))
    async with world.open() as supervisor:
        first = supervisor.create(make_spec())
        await settle()
        second = supervisor.create(make_spec(node="web.1"))
        await trio.sleep(2)
        assert {first.state, second.state} == {State.BUILDING}
        await supervisor.delete("app.web.0")
        await second.wait_state(State.BACKOFF)
        assert second.error == "the files of the app were not complete"
        (await world.spawner.next_child()).exit(0)
        await second.wait_state(State.RUNNING)
    check_nothing_left(world)


async def test_few_builds_run_at_once(autojump_clock: Clock) -> None:
    world = make_world()
    async with world.open() as supervisor:
        for number in range(6):
            supervisor.create(make_spec(node=f"web.{number}", env={"N": str(number)}))
        await settle()
        assert len(world.spawner.children) == 4
        for child in world.spawner.children[:4]:
            child.exit(0)
        await settle()
        builds = [c for c in world.spawner.children if c.command.argv[0] == "fake/build"]
        assert len(builds) == 6
        for child in builds:
            child.exit(0)
    check_nothing_left(world)


async def test_a_builder_is_asked_whether_it_wants_an_app(autojump_clock: Clock) -> None:
    """Once for all processes of an archive; what it writes is in the console."""
    world = make_world(FakeBuilder(takes=None), FakeBuilder("other"))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        detect = await world.spawner.next_child()
        assert detect.command.argv == ("fake/detect", "/nonexistent/app.web.0/app")
        assert process.state is State.PROCESSING
        detect.write(b"no\n")
        detect.exit(100)
        build = await world.spawner.next_child()
        assert build.command.argv[0] == "other/build"
        build.exit(0)
        await process.wait_state(State.RUNNING)
        assert text_of(process.console) == b"no\n"
        await world.spawner.next_child()
        supervisor.create(make_spec(node="web.1"))
        assert (await world.spawner.next_child()).command.argv[0] == "/bin/sh"
    check_nothing_left(world)


async def test_a_builder_that_says_yes_builds(autojump_clock: Clock) -> None:
    world = make_world(FakeBuilder(takes=None))
    async with world.open() as supervisor:
        supervisor.create(make_spec())
        (await world.spawner.next_child()).exit(0)
        assert (await world.spawner.next_child()).command.argv[0] == "fake/build"


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (Exit(code=1), "expected exit code 0 or 100, found exit code 1"),
        (Exit(signal=signal.SIGSEGV), "expected exit code 0 or 100, found SIGSEGV"),
        (None, "expected an answer in 30 s"),
    ],
)
async def test_a_builder_that_cannot_say_fails(
    how: Exit | None, error: str, autojump_clock: Clock
) -> None:
    world = make_world(FakeBuilder(takes=None))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        child = await world.spawner.next_child()
        if how is not None and how.code is not None:
            child.exit(how.code)
        elif how is not None:
            child.die(signal.SIGSEGV)
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error == f"the builder 'fake': detect: {error}"
    check_nothing_left(world)


async def test_a_builder_without_a_program_to_ask_fails(autojump_clock: Clock) -> None:
    world = make_world(FakeBuilder(takes=None), spawner=FakeSpawner(missing={"fake/detect"}))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.BUILD_FAILURE)
        assert process.error is not None
        assert process.error.startswith("the builder 'fake': detect: cannot start 'fake/detect'")


async def test_an_archive_that_lost_its_build_is_unpacked_again(autojump_clock: Clock) -> None:
    """As when the cache had no room for it; what goes wrong then may mend itself."""
    world = make_world()
    async with world.open() as supervisor:
        (await building(world, supervisor)).exit(0)
        await supervisor.get("app.web.0").wait_state(State.RUNNING)
        await world.spawner.next_child()
        world.workspaces.cache.trees.trees.clear()
        world.workspaces.errors.append(UnpackError("bad"))
        other = supervisor.create(make_spec(node="web.1"))
        await other.wait_state(State.BACKOFF)
        assert other.error == "bad"
        (await world.spawner.next_child()).exit(0)
        await other.wait_state(State.RUNNING)
    check_nothing_left(world)


async def test_little_is_remembered_of_archives(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smartmob_agent.build.builds.LOOKS", 2)
    world = make_world()
    async with world.open_services() as services:
        looks = [services.builds.look(name, None) for name in "abca"]
        assert looks[0] is not looks[3]
        assert services.builds.look("c", None) is looks[2]


async def test_a_defect_of_a_builder_is_in_the_log(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeBuilder):
        def build_command(self, directories: object) -> tuple[str, ...]:
            raise ZeroDivisionError

    world = make_world(Broken())
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        with caplog.at_level(logging.ERROR):
            await process.wait_state(State.BACKOFF)
        assert process.error == "internal error (ZeroDivisionError), see the agent's log"
    check_nothing_left(world)


async def test_app_json_has_defaults_and_required_names(autojump_clock: Clock) -> None:
    app_json = (
        b'{"env": {"MODE": "prod", "KEY": {"required": true}, "ID": {"generator": "secret"}}}'
    )
    world = World(workspaces=FakeWorkspaces(app_json=app_json))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.INVALID_APP_JSON)
        assert process.error == (
            "app.json: expected values in the request's env for KEY, found none"
        )
        with pytest.raises(WrongStateError):
            process.restart()
        for node in ("web.1", "web.2"):
            supervisor.create(make_spec(node=node, env={"KEY": "x"}))
        first, second = [(await world.spawner.next_child()).command.env for _ in range(2)]
        assert (first["MODE"], first["KEY"], len(first["ID"])) == ("prod", "x", 64)
        assert first["ID"] == second["ID"]


async def test_builds_end_with_their_processes(autojump_clock: Clock) -> None:
    """An agent that stops in the middle leaves nothing."""
    world = make_world(spawner=FakeSpawner(obey=False))
    process: ManagedProcess | None = None
    async with world.open() as supervisor:
        await building(world, supervisor)
        process = supervisor.get("app.web.0")
    assert process.state is State.GONE
    check_nothing_left(world)


def test_an_exec_error_is_a_spawn_error() -> None:
    """Children are tried again, whatever is wrong with their program."""
    assert issubclass(ExecError, SpawnError)
