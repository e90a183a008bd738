"""What a pause of the whole program does to deadlines."""

from __future__ import annotations

import math
import socket

import attrs
import pytest
import trio

from smartmob_agent.agent_cli.clock import PatientClock


@attrs.define(eq=False)
class Watch:
    """Time that only the test moves."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def clock(watch: Watch) -> PatientClock:
    clock = PatientClock(watch)
    clock.start_clock()
    return clock


def test_time_goes_on(clock: PatientClock, watch: Watch) -> None:
    start = clock.current_time()
    watch.now += 1
    assert clock.current_time() - start == 1


def test_before_a_deadline_the_loop_wakes_once_more(clock: PatientClock, watch: Watch) -> None:
    deadline = clock.current_time() + 10
    assert clock.deadline_to_sleep_time(deadline) == 8
    watch.now += 8
    assert clock.deadline_to_sleep_time(deadline) == 2
    watch.now += 2
    assert clock.current_time() == deadline


@pytest.mark.parametrize(("pause", "left"), [(3, 7), (8.5, 1.5), (9.5, 2), (10, 2), (1000, 2)])
def test_after_a_pause_there_is_time_to_hear_the_news(
    clock: PatientClock, watch: Watch, pause: float, left: float
) -> None:
    """No more than that: a watchdog is to be fed soon."""
    deadline = clock.current_time() + 10
    clock.deadline_to_sleep_time(deadline)
    watch.now += pause
    assert deadline - clock.current_time() == left


def test_a_pause_just_before_a_deadline_takes_nothing_of_the_rest(
    clock: PatientClock, watch: Watch
) -> None:
    deadline = clock.current_time() + 0.5
    assert clock.deadline_to_sleep_time(deadline) == 0.5
    watch.now += 1000
    assert deadline - clock.current_time() == 0.5
    watch.now += 0.5
    assert clock.current_time() == deadline


def test_a_sleep_without_a_deadline_is_no_pause(clock: PatientClock, watch: Watch) -> None:
    start = clock.current_time()
    assert clock.deadline_to_sleep_time(math.inf) == math.inf
    watch.now += 1000
    assert clock.current_time() - start == 1000


def test_a_turn_that_takes_long_is_a_pause(clock: PatientClock, watch: Watch) -> None:
    start = clock.current_time()
    watch.now += 1.5
    assert clock.current_time() == start


def test_what_arrived_in_a_pause_is_heard_before_a_limit_counts(watch: Watch) -> None:
    """By several tasks, one after the other."""
    ours, theirs = socket.socketpair()

    async def pass_on(heard: trio.Event) -> None:
        await trio.lowlevel.wait_readable(ours)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        heard.set()

    async def main() -> bool:
        heard = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_on, heard)
            with trio.move_on_after(5) as limit:
                nursery.start_soon(pause)
                await heard.wait()
        return limit.cancelled_caught

    async def pause() -> None:
        await trio.lowlevel.checkpoint()
        watch.now += 1000
        theirs.send(b"x")

    with ours, theirs:
        assert not trio.run(main, clock=PatientClock(watch))
