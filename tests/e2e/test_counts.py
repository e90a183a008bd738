"""Whoever counts traces sees one more: a task, a thread, an object, a descriptor, a file, a child.

What is planted is in a process of the test's own, or in shells that stand for an agent, its
guard, a shim and a process in store.
"""

from __future__ import annotations

import os
import signal
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE

import pytest
import trio
import trio.testing

from smartmob_agent.child.guard.kernel import children
from smartmob_agent.http.connection import Peer
from tests.e2e.agent import LIMIT
from tests.e2e.counting.sitecustomize import tell_objects
from tests.e2e.counts import Counts, Traces, rests, state_of

CHAIN = 'sh -c "sh -c \\"cat; :\\"; :"; :'
"""What a shell runs that is to have one shell below it, with one below that, with one program."""


@contextmanager
def told(*numbers: tuple[int, int]) -> Iterator[Counts]:
    """Counts that are told numbers of tasks and threads."""
    fd, told = os.pipe2(os.O_NONBLOCK)
    for pair in numbers:
        os.write(told, struct.pack("<II", *pair))
    yield Counts(fd, -1)
    os.close(told)


@pytest.mark.parametrize("planted", [(8, 0), (7, 1)])
async def test_a_task_or_a_thread_that_stays_is_told(
    planted: tuple[int, int], autojump_clock: trio.testing.MockClock
) -> None:
    """The pipe has all that will ever come, so time may be virtual."""
    with told((9, 0), planted) as counts:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(counts.read)
            with pytest.raises(AssertionError, match=f"expected 7 tasks and 0 .*{planted[0]}, "):
                await counts.wait(7)
            nursery.cancel_scope.cancel()
    assert trio.current_time() == LIMIT


async def test_what_comes_back_to_the_baseline_is_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with told((9, 2), (7, 0)) as counts:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(counts.read)
            assert await counts.wait(7) == 7
            nursery.cancel_scope.cancel()


async def test_one_object_of_the_agent_is_seen() -> None:
    """Also if only garbage refers to another one."""
    fd, told = os.pipe()
    before = signal.signal(signal.SIGUSR2, partial(tell_objects, told))
    try:
        counts = Counts(-1, fd)
        old = await counts.objects(os.getpid())
        planted = Peer("planted")
        garbage: list[object] = [Peer("garbage")]
        garbage.append(garbage)
        del garbage
        new = await counts.objects(os.getpid())
    finally:
        signal.signal(signal.SIGUSR2, before)
        os.close(fd)
        os.close(told)
    assert new - old == Counter({"smartmob_agent.http.connection.Peer": 1}), planted


@asynccontextmanager
async def shell(command: str) -> AsyncIterator[int]:
    """Run it in a shell; at the end whatever reads its input ends."""
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, ["sh", "-c", command], stdin=PIPE))
        yield process.pid
        await process.stdin.aclose()


async def reach(fact: Callable[[], bool]) -> None:
    """Wait for what the kernel tells nobody."""
    with trio.fail_after(LIMIT):
        while True:
            await trio.lowlevel.checkpoint()
            if fact():
                return


async def test_a_descriptor_and_a_file_are_seen(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    async with shell(CHAIN) as pid, shell(f"exec 9<{tmp_path}/old; {CHAIN}") as planted:
        before, more = await Traces.of(pid, tmp_path), await Traces.of(planted, tmp_path)
        (tmp_path / "new").touch()
        files = (await Traces.of(pid, tmp_path)).files
    # The shell and its guard both have it.
    assert more.descriptors - before.descriptors == Counter({f"{tmp_path}/old": 2})
    assert (before.files, files) == (
        [f"{tmp_path}/old"],
        [f"{tmp_path}/new", f"{tmp_path}/old"],
    )


async def test_a_child_more_is_seen_and_so_is_one_that_does_not_sleep() -> None:
    async with shell(CHAIN) as pid, shell(f"exec 3<&0; cat <&3 & {CHAIN}") as planted:
        await reach(partial(rests, pid))
        await reach(lambda: len(children(planted)) == 2)
        assert not rests(planted)
        [guard] = children(pid)
        os.kill(guard, signal.SIGSTOP)
        await reach(lambda: state_of(guard) == "T")
        assert not rests(pid)
        os.kill(guard, signal.SIGCONT)
