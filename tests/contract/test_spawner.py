"""What every `Spawner` promises, the real one and the fake."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from smartmob_agent.child.seam import Command, Exit
from smartmob_agent.errors import SpawnError
from tests.contract.scripted_children import OpenRig, Puppet, Rig, open_fake_rig, open_real_rig

LIMIT = 20.0
"""Seconds for a whole test, generously."""

RIGS: dict[str, OpenRig] = {"real": open_real_rig, "fake": open_fake_rig}


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery, RIGS[request.param](tmp_path) as rig:
        nursery.start_soon(_expire)
        yield rig
        nursery.cancel_scope.cancel()


async def _expire() -> None:
    await trio.sleep(LIMIT)
    pytest.fail(f"not done in {LIMIT:.0f} s")


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    async with stream:
        return b"".join([data async for data in stream])


async def done(puppet: Puppet) -> None:
    """Wait until the puppet has done what it was told."""
    puppet.say("done")
    assert await puppet.child.stdout.receive_some() == b"done\n"


async def test_exit_tells_the_code(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.exit(7)
    assert await puppet.child.wait() == Exit(code=7)


async def test_exit_tells_the_signal(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.die(signal.SIGUSR1)
    assert await puppet.child.wait() == Exit(signal=signal.SIGUSR1)


async def test_exit_may_be_asked_for_by_many_and_again(rig: Rig) -> None:
    puppet = await rig.start()
    found: list[Exit] = []

    async def ask() -> None:
        found.append(await puppet.child.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        puppet.exit(3)
    await ask()
    assert found == [Exit(code=3)] * 3


async def test_waiting_that_is_cancelled_leaves_the_child_alone(rig: Rig) -> None:
    puppet = await rig.start()
    for wait in (puppet.child.wait, puppet.child.wait_empty, puppet.child.wait_settled):
        with trio.CancelScope() as scope:
            scope.cancel()
            await wait()
    puppet.exit(3)
    assert await puppet.child.wait() == Exit(code=3)


async def test_each_child_has_a_pid_of_its_own(rig: Rig) -> None:
    one, other = await rig.start(), await rig.start()
    assert 0 < one.child.pid != other.child.pid > 0


async def test_output_and_errors_come_apart_and_end(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.say("one")
    puppet.complain("two")
    puppet.say("three")
    puppet.exit(0)
    assert await read_all(puppet.child.stdout) == b"one\nthree\n"
    assert await read_all(puppet.child.stderr) == b"two\n"


async def test_exit_is_told_though_a_descendant_holds_the_pipes(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.ignore_term()
    puppet.fork()
    await done(puppet)
    puppet.child.terminate()
    puppet.exit(1)
    assert await puppet.child.wait() == Exit(code=1)


async def test_what_an_ended_child_leaves_is_killed(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.ignore_term()
    puppet.fork()
    puppet.detach()
    puppet.exit(0)
    await puppet.child.wait_empty()
    assert await read_all(puppet.child.stdout) == b""


async def test_terminate_ends_child_and_group(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.fork()
    await done(puppet)
    puppet.child.terminate()
    assert await puppet.child.wait() == Exit(signal=signal.SIGTERM)
    await puppet.child.wait_empty()


async def test_terminate_kills_what_detached_when_the_group_is_gone(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.detach()
    await done(puppet)
    puppet.child.terminate()
    await puppet.child.wait_empty()
    assert await read_all(puppet.child.stdout) == b""


async def test_terminate_gives_the_group_time_until_kill(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.ignore_term()
    puppet.fork()
    await done(puppet)
    puppet.child.terminate()
    puppet.exit(0)
    assert await puppet.child.wait() == Exit(code=0)
    with trio.move_on_after(0.05) as patience:
        await puppet.child.wait_empty()
    assert patience.cancelled_caught
    puppet.child.kill()
    await puppet.child.wait_empty()


async def test_terminate_can_use_another_signal(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.fork()
    await done(puppet)
    puppet.child.terminate(signal.SIGUSR1)
    assert await puppet.child.wait() == Exit(signal=signal.SIGUSR1)
    await puppet.child.wait_empty()


async def test_terminate_of_the_app_alone_leaves_it_the_rest(rig: Rig) -> None:
    """What it leaves itself is killed: nobody else has told it to end."""
    puppet = await rig.start()
    puppet.ignore_term()
    puppet.detach()
    await done(puppet)
    puppet.child.terminate(app_only=True)
    puppet.exit(3)
    assert await puppet.child.wait() == Exit(code=3)
    await puppet.child.wait_empty()
    assert await read_all(puppet.child.stdout) == b""


async def test_kill_ends_what_ignores_terminate(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.ignore_term()
    puppet.fork()
    puppet.detach()
    await done(puppet)
    puppet.child.terminate()
    puppet.child.kill()
    puppet.child.kill()
    assert await puppet.child.wait() == Exit(signal=signal.SIGKILL)
    await puppet.child.wait_empty()


async def test_an_ended_child_may_be_terminated_and_killed(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.exit(0)
    await puppet.child.wait_empty()
    puppet.child.terminate()
    puppet.child.kill()
    assert await puppet.child.wait() == Exit(code=0)


async def test_a_signal_may_end_the_child(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.child.send_signal(signal.SIGKILL)
    assert await puppet.child.wait() == Exit(signal=signal.SIGKILL)
    await puppet.child.wait_empty()
    puppet.child.send_signal(signal.SIGHUP)


async def test_an_empty_tree_is_settled_and_not_stuck(rig: Rig) -> None:
    puppet = await rig.start()
    puppet.child.kill()
    await puppet.child.wait_settled()
    assert puppet.child.stuck == ()


async def test_killing_one_child_leaves_the_others(rig: Rig) -> None:
    one, other = await rig.start(), await rig.start()
    one.child.kill()
    await one.child.wait_empty()
    other.say("here")
    assert await other.child.stdout.receive_some() == b"here\n"


async def test_a_program_that_is_missing_is_an_error_of_one_line(rig: Rig, tmp_path: Path) -> None:
    command = Command(argv=("/missing/program",), env={}, cwd=tmp_path)
    with pytest.raises(SpawnError) as caught:
        await rig.spawner.spawn(command)
    expected = "cannot start '/missing/program': No such file or directory"
    assert str(caught.value) == expected


async def test_spawn_is_a_checkpoint(rig: Rig) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await rig.start()
    assert scope.cancelled_caught


async def test_the_level_of_containment_is_told(rig: Rig) -> None:
    assert rig.spawner.containment in {"tree", "cgroup", "pid-namespace", "group"}
