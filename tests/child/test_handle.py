"""What the agent makes of the words of a shim, which the test speaks itself.

So the clock may be virtual though there is a socket: its other end is in the same thread, and what
was said has arrived before the clock can jump.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smartmob_agent.child.handle import GuardedChild, ShimHandle
from smartmob_agent.child.pipes import ChildPipes
from smartmob_agent.child.seam import Command, Exit
from smartmob_agent.child.zygote_client import ZygoteClient
from smartmob_agent.errors import SpawnError

MORE = " (ulimit -u, TasksMax= of systemd, the limit of a container)"
COMMAND = Command(argv=("/bin/app",), env={}, cwd=Path("/srv"))


@attrs.frozen
class Scene:
    """A child, and the shim's end of its lifeline."""

    child: GuardedChild
    shim: socket.socket
    gone: trio.Event

    async def say(self, *lines: str) -> None:
        self.shim.sendall("".join(f"{line}\n" for line in lines).encode())
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    ends = ChildPipes()
    lifeline, *pipes = ends.theirs
    for fd in pipes:
        os.close(fd)
    gone = trio.Event()
    child = GuardedChild(COMMAND, ends, ShimHandle(zygote=ZygoteClient(), ident=1, gone=gone))
    with socket.socket(fileno=lifeline) as shim:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.run)
            yield Scene(child, shim, gone)
            nursery.cancel_scope.cancel()
    child.close_pipes()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("2 exec", "cannot start '/bin/app': No such file or directory"),
        ("2 chdir", "cannot start '/bin/app' in '/srv': No such file or directory"),
        ("2 interpreter", "cannot start '/bin/app': the interpreter it names is missing"),
        ("11 fork", "cannot start '/bin/app': fork: Resource temporarily unavailable" + MORE),
        ("1 isolate", "cannot start '/bin/app' in a PID namespace: Operation not permitted"),
        ("13 cgroup", "cannot start '/bin/app' in a cgroup of its own: Permission denied"),
    ],
)
async def test_a_failure_is_explained(scene: Scene, word: str, message: str) -> None:
    scene.gone.set()
    await scene.say(f"failed {word}")
    scene.shim.close()
    with pytest.raises(SpawnError) as caught:
        await scene.child.wait_started()
    assert str(caught.value) == message


async def test_a_shim_that_never_spoke_started_nothing(scene: Scene) -> None:
    scene.gone.set()
    scene.shim.close()
    assert await scene.child.wait_started() is None


async def test_a_start_that_is_cancelled_waits_for_the_end_of_the_tree(scene: Scene) -> None:
    """Who deletes a process while it is started looks right afterwards whether it is gone."""
    ended = trio.Event()

    async def start(scope: trio.CancelScope) -> None:
        with scope:
            await scene.child.wait_started()
        ended.set()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(start, scope)
        await wait_all_tasks_blocked()
        scope.cancel()
        await scene.say("started 5 0")
        assert (scene.shim.recv(10), ended.is_set()) == (b"k", False)
        await scene.say("exited 9", "empty")
        scene.shim.close()
        await ended.wait()
    assert scope.cancelled_caught


async def test_a_lost_shim_took_the_child_along(scene: Scene) -> None:
    await scene.say("started 5 0")
    scene.shim.close()
    assert await scene.child.wait() == Exit(signal=signal.SIGKILL)
    with trio.move_on_after(0.01) as patience:
        await scene.child.wait_empty()
    assert patience.cancelled_caught
    scene.gone.set()
    await scene.child.wait_empty()


async def test_an_exit_before_the_shim_was_lost_stands(scene: Scene) -> None:
    scene.gone.set()
    await scene.say("started 5 0", "exited 256")
    scene.shim.close()
    await scene.child.wait_empty()
    assert await scene.child.wait() == Exit(code=1)


async def test_what_resists_is_stuck_after_ten_seconds(
    scene: Scene, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.say("started 5 0", "exited 9", "left 6 7")
    start = trio.current_time()
    await scene.child.wait_settled()
    assert trio.current_time() - start == 10
    assert list(scene.child.stuck) == [6, 7]
    assert [record.message for record in caplog.records] == ["child is stuck"]
    await scene.say("empty")
    scene.shim.close()
    await scene.child.wait_empty()
    assert list(scene.child.stuck) == []


async def test_a_shim_that_goes_on_reporting_is_not_silent(
    scene: Scene, autojump_clock: MockClock
) -> None:
    await scene.say("started 5 0")
    scene.child.kill()
    for _ in range(9):
        await trio.sleep(1)
        await scene.say("left 5")
    assert scene.child.stuck == ()
    assert scene.shim.recv(10, socket.MSG_DONTWAIT) == b"k"


async def test_a_terminated_child_has_all_the_time(scene: Scene, autojump_clock: MockClock) -> None:
    await scene.say("started 5 0")
    scene.child.terminate()
    await scene.say("exited 0")
    scene.child.terminate()
    await trio.sleep(1000)
    assert scene.child.stuck == ()
    assert scene.shim.recv(10, socket.MSG_DONTWAIT) == b"t\x0f"


async def test_who_is_stuck_is_at_least_the_child(scene: Scene, autojump_clock: MockClock) -> None:
    """When neither shim nor zygote say anything."""
    await scene.say("started 5 0")
    scene.child.kill()
    await scene.child.wait_settled()
    assert scene.child.stuck == (5,)


async def test_who_was_never_started_has_no_number(
    scene: Scene, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """When not even the end of the zygote ends it."""
    start = trio.current_time()
    with trio.move_on_after(0):
        await scene.child.wait_started()
    assert trio.current_time() - start == 15
    assert scene.child.stuck == ()
    assert [record.__dict__["pid"] for record in caplog.records] == ["unknown"]


async def test_a_pause_does_not_keep_a_silent_shim_from_being_killed(
    scene: Scene, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All limits passed while this program was stopped; the shim has said nothing."""
    killed: list[int] = []
    monkeypatch.setattr(ChildPipes, "kill_shim", lambda _, pid: killed.append(pid))
    await scene.say("started 5 4")
    scene.child.kill()
    await wait_all_tasks_blocked()
    mock_clock.jump(1000)
    await wait_all_tasks_blocked()
    assert (killed, scene.child.stuck) == ([4], ())


async def test_news_that_came_in_a_pause_count_before_the_limits(
    scene: Scene, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """After SIGSTOP of the agent nobody is told that something is stuck that is gone."""
    await scene.say("started 5 0")
    scene.child.kill()
    await wait_all_tasks_blocked()
    mock_clock.jump(5)
    await wait_all_tasks_blocked()  # the shim was to be killed by now
    mock_clock.jump(1000)
    scene.shim.sendall(b"exited 9\nempty\n")
    scene.shim.close()
    await scene.child.wait_settled()
    assert (scene.child.stuck, caplog.records) == ((), [])


async def test_a_shim_that_has_ended_is_killed_by_nobody(mock_clock: MockClock) -> None:
    """While its zygote has not collected it, its number still means it."""
    ends = ChildPipes()
    for fd in ends.theirs:
        os.close(fd)
    ends.close()
    ends.kill_shim(os.getpid())
    assert ends.lifeline.fileno() == -1


async def test_an_exit_tells_why_the_child_was_killed(scene: Scene) -> None:
    scene.gone.set()
    await scene.say("started 5 0")
    scene.child.kill_because("it is too large")
    await scene.say("exited 9")
    assert (await scene.child.wait()).hint == ": it is too large"
    scene.child.kill_because("it is too late for that")
    assert (await scene.child.wait()).hint == ": it is too large"
