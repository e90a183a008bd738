"""The life of a process, on the virtual clock, exact to the second."""

from __future__ import annotations

import logging
import operator
import signal
from datetime import timedelta
from functools import partial

import pytest
import trio
import trio.testing

from smartmob_agent.child.seam import Exit
from smartmob_agent.config.settings import AgentConfig, OutputLimits
from smartmob_agent.errors import (
    CutShortError,
    DownloadError,
    InvalidProcfileError,
    SpawnError,
    TransientDownloadError,
    UnpackError,
)
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeFetcher, FakeSpawner, FakeWorkspaces
from tests.process.world import (
    EPOCH,
    World,
    lines_until_end,
    make_spec,
    next_lines,
    running,
    settle,
)

Clock = trio.testing.MockClock


async def test_it_goes_from_its_archive_to_a_running_child(autojump_clock: Clock) -> None:
    """Each step has its state, and takes the time that it takes."""
    world = World(
        fetcher=FakeFetcher(delay=2),
        workspaces=FakeWorkspaces(delay=3),
        spawner=FakeSpawner(delay=5),
    )
    seen = []
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        assert process.state is State.PENDING
        for state in (
            State.DOWNLOADING,
            State.UNPACKING,
            State.PROCESSING,
            State.RUNNING,
        ):
            await process.wait_state(state)
            seen.append((trio.current_time(), process.state))
    assert seen == [
        (0, State.DOWNLOADING),
        (2, State.UNPACKING),
        (5, State.PROCESSING),
        (10, State.RUNNING),
    ]


async def test_a_running_process_shows_its_child(autojump_clock: Clock) -> None:
    world = World(fetcher=FakeFetcher(delay=2))
    async with world.open() as supervisor:
        process = await running(supervisor)
        shown = (process.pid, process.restarts, process.started_at, process.exit, process.error)
        assert shown == (1000, 0, EPOCH + timedelta(seconds=2), None, None)


async def test_the_child_gets_its_command_its_directory_and_its_environment() -> None:
    world = World(workspaces=FakeWorkspaces(procfile=b"web: A=1 B=2 serve --fast\n"))
    async with world.open() as supervisor:
        await running(supervisor, make_spec(env={"B": "3"}))
        command = world.spawner.children[0].command
        assert command.argv == ("/bin/sh", "-c", "exec serve --fast")
        assert command.cwd == world.workspaces.opened[0].directory / "app"
        directory = world.workspaces.opened[0].directory
        assert command.env == {
            "PATH": "/usr/bin",
            "HOME": str(directory / "app"),
            "TMPDIR": str(directory / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "PORT": "20000",
            "SMARTMOB_APP": "app",
            "SMARTMOB_NODE": "web.0",
            "SMARTMOB_SLUG": "app.web.0",
            "SMARTMOB_PROCESS_TYPE": "web",
            "A": "1",
            "B": "3",
        }


async def test_an_app_that_has_removed_its_own_files_gets_them_anew(
    autojump_clock: Clock,
) -> None:
    """From the archive that it had, of which the cache may know."""
    world, seen = World(), []
    async with world.open() as supervisor:
        process = await running(supervisor)
        supervisor.events.observers.append(lambda event: seen.append(event.transition))
        digest = process.files.source.sha256
        world.workspaces.opened[0].is_gone = True
        world.spawner.children[0].exit()
        await trio.sleep(2)
        assert [step.state for step in seen if step.state is not step.previous] == [
            State.BACKOFF,
            State.DOWNLOADING,
            State.UNPACKING,
            State.PROCESSING,
            State.RUNNING,
        ]
        assert process.files.source.sha256 == digest
        assert [one.error for one in seen if one.error][-1].startswith("the files of the app")
        assert process.state is State.RUNNING


async def test_the_download_carries_the_id_of_its_request() -> None:
    world = World()
    async with world.open() as supervisor:
        await running(supervisor)
        assert world.fetcher.requests == [("http://127.0.0.1/app.zip", "request-1")]


async def test_a_child_that_ends_is_started_again_later_and_later(
    autojump_clock: Clock,
) -> None:
    """Delays double from 1 s to 60 s while runs are short."""
    world, starts = World(), []
    async with world.open() as supervisor:
        supervisor.create(make_spec())
        for _ in range(8):
            child = await world.spawner.next_child()
            starts.append(trio.current_time())
            child.exit(1)
    assert starts == [0, 1, 3, 7, 15, 31, 63, 123]


async def test_a_child_that_ran_for_10_seconds_is_started_again_at_once(
    autojump_clock: Clock,
) -> None:
    world, starts = World(), []
    async with world.open() as supervisor:
        supervisor.create(make_spec())
        for uptime in (0, 0, 10, 9.5, 10, 0):
            child = await world.spawner.next_child()
            starts.append(trio.current_time())
            await trio.sleep(uptime)
            child.exit(0)
    assert starts == [0, 1, 3, 13, 23.5, 33.5]


async def test_a_restart_neither_downloads_nor_unpacks(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        supervisor.create(make_spec())
        for _ in range(3):
            (await world.spawner.next_child()).exit(0)
        assert (len(world.fetcher.requests), len(world.workspaces.opened)) == (1, 1)


async def test_a_process_in_backoff_tells_why_and_until_when(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        await trio.sleep(2)
        world.spawner.children[0].exit(7)
        await process.wait_state(State.BACKOFF)
        assert process.pid is None
        assert process.exit == Exit(code=7)
        assert process.error == "the child ended with exit code 7 after 2.0 s"
        assert process.next_start_at == EPOCH + timedelta(seconds=3)
        await process.wait_state(State.RUNNING)
        again = supervisor.get(process.slug)
        assert (again.error, again.next_start_at, again.restarts) == (None, None, 1)
        assert again.exit == Exit(code=7)


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (126, ": the shell may not execute the command"),
        (127, ": the shell did not find the command"),
    ],
)
async def test_the_codes_of_a_shell_are_explained(
    autojump_clock: Clock, code: int, hint: str
) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        world.spawner.children[0].exit(code)
        await process.wait_state(State.BACKOFF)
        assert process.error == f"the child ended with exit code {code} after 0.0 s{hint}"


async def test_a_signal_is_kept_apart_from_an_exit_code(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        world.spawner.children[0].die(signal.SIGSEGV)
        await process.wait_state(State.BACKOFF)
        assert process.exit == Exit(signal=signal.SIGSEGV)
        assert process.error == "the child ended with SIGSEGV after 0.0 s"


async def test_a_download_that_may_mend_itself_is_tried_again(autojump_clock: Clock) -> None:
    errors = [TransientDownloadError("connection refused"), TransientDownloadError("503")]
    world = World(fetcher=FakeFetcher(errors=errors, delay=10))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.BACKOFF)
        assert (trio.current_time(), process.error) == (10, "connection refused")
        assert process.next_start_at == EPOCH + timedelta(seconds=11)
        await process.wait_state(State.RUNNING)
        assert trio.current_time() == 10 + 1 + 10 + 2 + 10


async def test_a_server_says_how_long_to_wait(autojump_clock: Clock) -> None:
    """Each process that waits for the one answer heeds it."""
    error = TransientDownloadError("503", retry_after=20.0)
    world = World(fetcher=FakeFetcher(errors=[error]))
    async with world.open() as supervisor:
        processes = [supervisor.create(make_spec(node=f"web.{n}")) for n in range(2)]
        for process in processes:
            await process.wait_state(State.RUNNING)
        assert (trio.current_time(), len(world.fetcher.requests)) == (20.0, 2)


@pytest.mark.parametrize("ends_by_close", [True, False])
async def test_an_archive_that_is_cut_short_is_asked_for_again(
    ends_by_close: bool, autojump_clock: Clock
) -> None:
    """If its transfer may be the cause; else it is so at its server, and stays so."""
    world = World(
        fetcher=FakeFetcher(ends_by_close=ends_by_close, etag='"1"'),
        workspaces=FakeWorkspaces(errors=[CutShortError("the gzip data is cut short")]),
    )
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        if not ends_by_close:
            await process.wait_state(State.UNPACK_FAILURE)
            assert process.error == "the gzip data is cut short"
            return
        await process.wait_state(State.BACKOFF)
        assert process.error == "http://127.0.0.1/app.zip: the gzip data is cut short"
        await process.wait_state(State.RUNNING)
        assert (trio.current_time(), len(world.fetcher.requests)) == (1.0, 2)


async def test_tries_to_download_do_not_count_against_the_child(autojump_clock: Clock) -> None:
    world = World(fetcher=FakeFetcher(errors=[TransientDownloadError("no")] * 3))
    async with world.open() as supervisor:
        process = await running(supervisor)
        assert trio.current_time() == 1 + 2 + 4
        world.spawner.children[0].exit(0)
        await process.wait_state(State.BACKOFF)
        assert process.next_start_at == EPOCH + timedelta(seconds=7 + 1)


async def test_a_spawn_that_fails_is_tried_again_without_a_download(
    autojump_clock: Clock,
) -> None:
    errors = [SpawnError("out of memory"), SpawnError("out of memory")]
    world = World(spawner=FakeSpawner(errors=errors))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.BACKOFF)
        error = process.error
        await process.wait_state(State.RUNNING)
        assert error == "out of memory"
        assert (trio.current_time(), len(world.fetcher.requests)) == (1 + 2, 1)


@pytest.mark.parametrize(
    ("world", "state", "error"),
    [
        (
            World(fetcher=FakeFetcher(errors=[DownloadError("404 Not Found")])),
            State.DOWNLOAD_FAILURE,
            "404 Not Found",
        ),
        (
            World(workspaces=FakeWorkspaces(errors=[DownloadError("not an archive")])),
            State.DOWNLOAD_FAILURE,
            "not an archive",
        ),
        (
            World(workspaces=FakeWorkspaces(errors=[UnpackError("damaged")])),
            State.UNPACK_FAILURE,
            "damaged",
        ),
        (
            World(workspaces=FakeWorkspaces(errors=[InvalidProcfileError("big", line=1)])),
            State.INVALID_PROCFILE,
            "Procfile line 1: big",
        ),
        (
            World(workspaces=FakeWorkspaces(procfile=None)),
            State.NO_PROCFILE,
            (
                "expected a file 'Procfile' at the top of the archive, or in its only directory, "
                "found nothing"
            ),
        ),
        (
            World(workspaces=FakeWorkspaces(procfile=b"worker: a\nclock: b\n")),
            State.UNKNOWN_PROCESS_TYPE,
            "expected one of the Procfile's process types (clock, worker), found 'web'",
        ),
    ],
)
async def test_what_trying_again_cannot_mend_is_final(
    autojump_clock: Clock, world: World, state: State, error: str
) -> None:
    """It stays listed, with its reason, until it is deleted."""
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(state)
        await trio.sleep(3600)
        assert (process.state, process.error) == (state, error)
        assert (len(world.fetcher.requests), world.spawner.children) == (1, [])
        await supervisor.delete(process.slug)
        assert world.workspaces.opened[0].removed.is_set()


async def test_a_broken_procfile_is_final_and_names_the_line() -> None:
    world = World(workspaces=FakeWorkspaces(procfile=b"web: serve\nnonsense\n"))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.INVALID_PROCFILE)
        assert (process.error or "").startswith("Procfile line 2: ")


async def test_a_defect_in_one_process_is_logged_and_does_not_end_the_others(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(fetcher=FakeFetcher(errors=[ZeroDivisionError("oops")]))
    async with world.open() as supervisor:
        broken = supervisor.create(make_spec("broken"))
        await settle()
        other = await running(supervisor, make_spec("other"))
        assert broken.state is State.BACKOFF
        assert broken.error == "internal error (ZeroDivisionError), see the agent's log"
        await broken.wait_state(State.RUNNING)
        assert (trio.current_time(), other.restarts) == (1, 0)
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.__dict__["slug"] == "broken.web.0"


async def test_output_reaches_the_console_from_both_streams_and_over_restarts(
    autojump_clock: Clock,
) -> None:
    world = World()
    lines: list[bytes] = []
    async with world.open() as supervisor:
        process = await running(supervisor)
        cursor = process.console.subscribe()
        for child_output in (b"first\n", b"second\n"):
            child = await world.spawner.next_child()
            child.write(child_output)
            lines += await next_lines(cursor)
            child.write_error(b"warning\n")
            lines += await next_lines(cursor)
            child.exit(0)
    assert lines == [b"first", b"warning", b"second", b"warning"]


async def test_an_unterminated_last_line_is_delivered_when_the_child_ends(
    autojump_clock: Clock,
) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        cursor = process.console.subscribe()
        world.spawner.children[0].write(b"no end")
        world.spawner.children[0].exit(0)
        assert await next_lines(cursor) == [b"no end"]


async def test_a_stranger_that_holds_the_pipe_delays_a_restart_by_the_drain_at_most(
    autojump_clock: Clock,
) -> None:
    """An exit is noticed by itself, never by the end of the output."""
    world = World(config=AgentConfig(output=OutputLimits(drain_timeout=3)))
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = await world.spawner.next_child()
        child.closes_pipes = False
        child.exit(0)
        await process.wait_state(State.BACKOFF)
        assert trio.current_time() == 0
        await world.spawner.next_child()
        assert trio.current_time() == 3


async def test_output_that_still_comes_while_it_is_drained_is_kept(
    autojump_clock: Clock,
) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        cursor = process.console.subscribe()
        child = world.spawner.children[0]
        child.closes_pipes = False
        child.exit(0)
        await trio.sleep(0.5)
        child.write(b"late\n")
        assert await next_lines(cursor) == [b"late"]


async def test_a_stopped_child_is_asked_and_its_last_words_arrive(
    autojump_clock: Clock,
) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = world.spawner.children[0]
        lines: list[bytes] = []

        async def read() -> None:
            lines.extend(await lines_until_end(process))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(supervisor.delete, process.slug)
            await child.terminated.wait()
            assert process.state is State.STOPPING
            await trio.sleep(4)
            child.write(b"bye")
            child.exit(0)
        assert lines == [b"bye"]
        assert (trio.current_time(), process.console.end) == (4, ConsoleEnd.PROCESS)
        assert (process.exit, process.pid) == (Exit(code=0), None)


async def test_a_child_that_ignores_being_asked_is_killed_after_the_time_out(
    autojump_clock: Clock,
) -> None:
    world = World(spawner=FakeSpawner(obey=False), config=AgentConfig(stop_timeout=7))
    async with world.open() as supervisor:
        process = await running(supervisor)
        await supervisor.delete(process.slug)
        assert (trio.current_time(), process.exit) == (7, Exit(signal=signal.SIGKILL))


async def test_the_rest_of_a_group_has_the_time_out_too(autojump_clock: Clock) -> None:
    """`sh -c 'app & wait'`: the shell ends at once, the app finishes what it does."""
    world = World(config=AgentConfig(stop_timeout=7))
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = world.spawner.children[0]
        child.lingers = True
        await supervisor.delete(process.slug)
        assert (trio.current_time(), process.exit) == (7, Exit(signal=signal.SIGTERM))


async def test_a_stop_timeout_of_0_kills_at_once(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False), config=AgentConfig(stop_timeout=0))
    async with world.open() as supervisor:
        process = await running(supervisor)
        await supervisor.delete(process.slug)
        assert (trio.current_time(), process.exit) == (0, Exit(signal=signal.SIGKILL))


async def test_kill_does_not_wait_for_a_child_that_is_being_asked(
    autojump_clock: Clock,
) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        supervisor.close()
        await trio.sleep(2)
        supervisor.kill()
        await process.wait_state(State.GONE)
        assert (trio.current_time(), process.exit) == (2, Exit(signal=signal.SIGKILL))


async def test_kill_before_a_stop_asks_nobody(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        supervisor.kill()
        await process.wait_state(State.GONE)
        assert trio.current_time() == 0
        assert not world.spawner.children[0].terminated.is_set()


async def test_an_exit_at_the_moment_of_a_stop_is_no_backoff(autojump_clock: Clock) -> None:
    """Both happened when the task looks again: the stop overtakes."""
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        world.spawner.children[0].exit(3)
        process.stop()
        await process.wait_state(State.GONE)
        assert (trio.current_time(), process.exit) == (0, Exit(code=3))
        assert len(world.spawner.children) == 1


async def test_a_defect_while_it_stops_is_logged_and_the_files_are_removed(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = await world.spawner.next_child()
        process.stop()
        await child.terminated.wait()
        child.stdout.close_hook = partial(operator.truediv, 1, 0)
        child.exit(0)
        await process.wait_state(State.GONE)
        assert world.workspaces.opened[0].removed.is_set()
    assert "process failed while it stopped" in caplog.messages


async def test_a_delete_waits_for_what_cannot_be_killed_and_says_so(
    autojump_clock: Clock,
) -> None:
    """Uninterruptible sleep: nothing is hidden, and it ends when the kernel lets go."""
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = world.spawner.children[0]
        child.unkillable = True
        with trio.move_on_after(100):
            await supervisor.delete(process.slug)
        assert process.error == (
            "not even SIGKILL ends pid 1000: uninterruptible sleep in the kernel"
        )
        child.let_go()
        await process.wait_state(State.GONE)
        assert (trio.current_time(), process.exit) == (100, Exit(signal=signal.SIGKILL))


async def test_the_end_of_the_agent_does_not_wait_for_what_cannot_be_killed(
    autojump_clock: Clock,
) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        world.spawner.children[0].unkillable = True
        supervisor.close()
    assert trio.current_time() == 10 + 10 + 1  # To ask, to kill, to drain the output.
    assert process.exit is None


async def test_the_end_of_the_agent_overtakes_a_delete_that_is_stuck(
    autojump_clock: Clock,
) -> None:
    world = World(spawner=FakeSpawner(obey=False))
    async with world.open() as supervisor:
        process = await running(supervisor)
        world.spawner.children[0].unkillable = True
        with trio.move_on_after(50):
            await supervisor.delete(process.slug)
    assert trio.current_time() == 50 + 1  # It still drains the output.


async def test_what_is_stuck_after_a_crash_keeps_the_next_child_waiting(
    autojump_clock: Clock,
) -> None:
    """Two of them might hold the same port or file."""
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        child = await world.spawner.next_child()
        child.unkillable = child.lingers = True
        child.terminated.set()  # So that something lingers though nobody asked.
        child.exit(1)
        await trio.sleep(30)
        assert process.state is State.BACKOFF
        assert "pid 1000" in (process.error or "")
        child.let_go()
        await world.spawner.next_child()
        assert trio.current_time() == 30


async def test_kill_before_there_is_a_child_ends_the_process(autojump_clock: Clock) -> None:
    world = World(fetcher=FakeFetcher(delay=100))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await process.wait_state(State.DOWNLOADING)
        supervisor.kill()
        await process.wait_state(State.GONE)
        assert trio.current_time() == 0


async def test_waiting_for_the_present_state_does_not_wait(autojump_clock: Clock) -> None:
    async with World().open() as supervisor:
        process = await running(supervisor)
        with trio.fail_after(1):
            state = await process.wait_state(State.RUNNING, State.BACKOFF)
        assert (state, trio.current_time()) == (State.RUNNING, 0)


async def test_who_waits_for_one_of_several_states_learns_which_one_came(
    autojump_clock: Clock,
) -> None:
    """Also that it is none of them, because the process is gone."""
    async with World().open() as supervisor:
        process = await running(supervisor)
        states: list[State] = []

        async def wait(*wanted: State) -> None:
            states.append(await process.wait_state(*wanted))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, State.STOPPING, State.BACKOFF)
            nursery.start_soon(wait, State.BACKOFF)
            await trio.testing.wait_all_tasks_blocked()
            await supervisor.delete(process.slug)
        assert states == [State.STOPPING, State.GONE]
