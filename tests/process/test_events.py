"""Each step of each process, in order and numbered."""

from __future__ import annotations

import contextlib

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.child.seam import Exit
from smartmob_agent.config.settings import AgentConfig, OutputLimits
from smartmob_agent.process.events import (
    Events,
    EventsMissedError,
    News,
    Transition,
    TransitionEvent,
)
from smartmob_agent.process.states import State
from tests.process.world import EPOCH, World, make_spec, running

Clock = trio.testing.MockClock
START = int(EPOCH.timestamp() * 1000)

PENDING = Transition(
    spec=make_spec(),
    previous=None,
    state=State.PENDING,
    pid=None,
    exit=None,
    error=None,
    started_at=None,
    next_start_at=None,
)


def make_events(max_bytes: int = 100_000) -> Events:
    return Events(max_bytes, lambda: EPOCH)


async def test_a_life_is_told_step_by_step(autojump_clock: Clock) -> None:
    found: list[TransitionEvent] = []
    world = World()
    async with world.open() as supervisor:
        supervisor.events.observers.append(found.append)
        process = await running(supervisor)
        await trio.sleep(2)
        world.spawner.children[0].exit(3)
        await process.wait_state(State.BACKOFF)
        await supervisor.delete(process.slug)
    steps = [(e.seq - START, e.transition.previous, e.transition.state) for e in found]
    assert steps == [
        (0, None, State.PENDING),
        (1, State.PENDING, State.DOWNLOADING),
        (2, State.DOWNLOADING, State.UNPACKING),
        (3, State.UNPACKING, State.PROCESSING),
        (4, State.PROCESSING, State.RUNNING),
        (5, State.RUNNING, State.RUNNING),
        (6, State.RUNNING, State.BACKOFF),
        (7, State.BACKOFF, State.STOPPING),
        (8, State.STOPPING, State.GONE),
    ]
    assert found[4].transition.pid == 1000
    assert [one.transition.ready for one in found[4:7]] == [False, True, False]
    assert found[6].transition.exit == Exit(code=3)


async def test_a_step_is_rendered_once_for_all_readers() -> None:
    """By each renderer."""
    events, asked = make_events(), []

    def render(event: TransitionEvent) -> bytes:
        asked.append(event.seq)
        return b"%d" % event.seq

    cursor = events.subscribe()
    events.publish(PENDING)
    event = await cursor.receive()
    assert isinstance(event, TransitionEvent)
    assert [event.rendered(render), event.rendered(render)] == [b"%d" % START] * 2
    assert event.rendered(lambda _: b"other") == b"other"
    assert asked == [START]


async def test_news_of_apps_are_numbered_along(autojump_clock: Clock) -> None:
    """Nothing comes after the end."""
    events = make_events()
    cursor = events.subscribe()
    events.publish(PENDING)
    events.publish_news("app", "shop", {"change": "created"})
    await cursor.receive()
    news = await cursor.receive()
    assert isinstance(news, News)
    assert (news.seq, news.first, news.since(3)) == (START + 1, START + 1, news)
    events.close()
    events.publish_news("app", "shop", {"change": "deleted"})
    assert events.last_seq == START + 1


async def test_a_reader_gets_what_comes_and_then_the_end() -> None:
    events = make_events()
    events.publish(PENDING)
    cursor = events.subscribe()
    events.publish(PENDING)
    events.close()
    events.publish(PENDING)
    assert (await cursor.receive()).seq == events.last_seq == START + 1
    with pytest.raises(trio.EndOfChannel):
        await cursor.receive()


def test_a_reader_may_begin_behind_an_event_and_choose() -> None:
    events = make_events()
    for node in ("a", "b", "a", "b"):
        events.publish(attrs.evolve(PENDING, spec=make_spec(node=node)))

    def is_b(event: TransitionEvent | News) -> bool:
        return isinstance(event, TransitionEvent) and event.transition.spec.node == "b"

    cursor = events.subscribe(after=START, wants=is_b)
    found = [cursor.receive_nowait(), cursor.receive_nowait(), cursor.receive_nowait()]
    assert [event and event.seq - START for event in found] == [1, 3, None]


@pytest.mark.parametrize("after", [START - 2, START + 1])
def test_a_number_of_another_agent_is_refused(after: int) -> None:
    events = make_events()
    events.publish(PENDING)
    with pytest.raises(ValueError, match="expected a number from"):
        events.subscribe(after=after)


def test_memory_is_bounded_and_a_slow_reader_is_told() -> None:
    events = make_events(5000)
    cursor = events.subscribe()
    for _ in range(10):
        events.publish(attrs.evolve(PENDING, error="x" * 100))
    assert len(events.items) == 2
    with pytest.raises(EventsMissedError, match="8 events missed") as caught:
        cursor.receive_nowait()
    assert caught.value.count == 8
    event = cursor.receive_nowait()
    assert event is not None
    assert event.seq == START + 8


async def test_how_much_is_kept_can_be_set(autojump_clock: Clock) -> None:
    world = World(config=AgentConfig(output=OutputLimits(events_bytes=1)))
    async with world.open() as supervisor:
        await running(supervisor)
        assert len(supervisor.events.items) == 1
        assert supervisor.events.last_seq == START + 5


@pytest.mark.parametrize("kill", [False, True])
async def test_they_end_with_the_last_process_of_an_agent_that_stops(*, kill: bool) -> None:
    states = []
    async with World().open() as supervisor:
        process = await running(supervisor)
        cursor = supervisor.events.subscribe()
        if kill:
            supervisor.kill()
        else:
            supervisor.close()
        assert not supervisor.events.ended
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                event = await cursor.receive()
                assert isinstance(event, TransitionEvent)
                states.append(event.transition.state)
    assert (states, process.state) == ([State.STOPPING, State.GONE], State.GONE)


@pytest.mark.parametrize("kill", [False, True])
async def test_they_end_at_once_where_there_is_no_process(*, kill: bool) -> None:
    async with World().open() as supervisor:
        if kill:
            supervisor.kill()
        else:
            supervisor.close()
        assert supervisor.events.ended
