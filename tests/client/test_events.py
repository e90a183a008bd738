"""What happens to processes: the format, lost connections, waiting for a state."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from smartmob_agent.client import (
    BadAnswerError,
    Change,
    ClientError,
    ConflictError,
    ConnectionLostError,
    Gap,
    NoSuchProcessError,
    ProcessFailedError,
    Snapshot,
    open_client,
)
from smartmob_agent.client.client import open_over
from smartmob_agent.client.events import EventStreamParser, Happening, ServerSentEvent, state_in
from smartmob_agent.client.network import Answer, Body, Query, StreamedAnswer
from tests.client.agent import CREATE, open_world
from tests.client.memory import Parts
from tests.client.test_documents import STATUS

Clock = trio.testing.MockClock
SLUG = "hello.web.0"
CHANGE: dict[str, Any] = {
    "seq": 8,
    "time": "2026-01-01T00:00:00.000Z",
    "slug": SLUG,
    "previous": "pending",
    "state": "running",
    "pid": 5,
    "restarts": 0,
    "exit": None,
    "error": None,
    "new": 1,
}


def message(event: str, data: object, ident: int | None = None) -> bytes:
    lines = [f"event: {event}", *([f"id: {ident}"] if ident else []), f"data: {json.dumps(data)}"]
    return "\n".join([*lines, "", ""]).encode()


SNAPSHOT = message("snapshot", {"seq": 7, "processes": [STATUS]}, 7)
RUNNING = message("state", CHANGE, 8)
END = message("end", {"reason": "agent"})
STREAM = SNAPSHOT + b": 9\n" + RUNNING + b": comment\nevent: x\ndata: 1\ndata: 2\n\n" + END


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    parser, places = EventStreamParser(), sorted({0, *cuts, len(STREAM)})
    parts = [STREAM[start:end] for start, end in itertools.pairwise(places)]
    found = [message for part in parts for message in parser.feed(part)]
    assert [m.event for m in found] == ["snapshot", "", "state", "x", "end"]
    assert found[3] == ServerSentEvent(event="x", data="1\n2")
    assert parser.last_id == "8"


@attrs.define(eq=False)
class Agent:
    """Answers each request for events with the next of its streams, and cuts all but the last.

    asked: the queries, and the `Last-Event-ID` where there was one.
    """

    streams: list[bytes]
    asked: list[tuple[Query, str | None]] = attrs.field(factory=list)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        long_running: bool = False,
    ) -> Answer:
        await trio.lowlevel.checkpoint()
        return Answer(headers={}, body=json.dumps(STATUS).encode())

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[StreamedAnswer]:
        await trio.lowlevel.checkpoint()
        self.asked.append((query or {}, (headers or {}).get("Last-Event-ID")))
        if not self.streams:
            raise ConnectionLostError("down")
        data = self.streams.pop(0)
        yield StreamedAnswer(headers={}, parts=Parts(iter([data]), lost=False))


async def read(*streams: bytes) -> tuple[list[Happening], Agent]:
    agent = Agent([*streams])
    async with open_over(agent, unused, reconnect_timeout=5) as client:
        return [happening async for happening in client.events(slugs=[SLUG], apps=["a"])], agent


def unused() -> Any:
    raise AssertionError


async def test_a_snapshot_and_changes_come_until_the_end() -> None:
    (snapshot, change), agent = await read(STREAM)
    assert isinstance(snapshot, Snapshot)
    assert [process.slug for process in snapshot.processes] == [SLUG]
    assert isinstance(change, Change)
    assert (change.seq, change.state, change.document["new"]) == (8, "running", 1)
    assert agent.asked == [({"slug": [SLUG], "app": ["a"]}, None)]


async def test_a_lost_stream_goes_on_behind_its_last_event(autojump_clock: Clock) -> None:
    happenings, agent = await read(SNAPSHOT, RUNNING[:20], b": 9\n", RUNNING + END)
    assert [type(happening) for happening in happenings] == [Snapshot, Change]
    assert [last for _, last in agent.asked] == [None, "7", "7", "9"]


async def test_a_gap_is_told_once(autojump_clock: Clock) -> None:
    """The agent cuts who is too slow behind it, and begins anew for who comes again."""
    gap = message("gap", {"missed": 5})
    happenings, agent = await read(SNAPSHOT + gap, SNAPSHOT + END)
    assert [type(happening) for happening in happenings] == [Snapshot, Gap, Snapshot]
    assert happenings[1] == Gap(missed=5)
    assert [last for _, last in agent.asked] == [None, None]


async def test_a_stream_that_does_not_come_back_is_given_up(autojump_clock: Clock) -> None:
    with pytest.raises(ConnectionLostError, match="down"):
        await read(SNAPSHOT)
    assert trio.current_time() == 5.0


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        (message("gap", []), "expected a gap"),
        (message("state", {}), "expected a change"),
        (message("snapshot", {}), "expected a list of processes"),
    ],
)
async def test_what_is_no_event_is_told(stream: bytes, found: str) -> None:
    with pytest.raises(BadAnswerError, match=found):
        await read(stream)


def test_no_news_is_no_state() -> None:
    assert state_in(Gap(missed=None)) == ("", None, False)
    assert state_in(Snapshot(processes=[])) == ("gone", None, False)


async def wait(states: tuple[str, ...], *streams: bytes) -> str:
    async with open_over(Agent([*streams]), unused, reconnect_timeout=5) as client:
        return await client.wait_state(SLUG, *states)


async def test_a_state_is_waited_for() -> None:
    assert await wait(("backoff", "running"), STREAM) == "backoff"  # As the snapshot says.
    assert await wait(("running",), STREAM) == "running"
    assert await wait(("gone",), message("snapshot", {"processes": []})) == "gone"


@pytest.mark.parametrize("state", ["stopping", "gone"])
async def test_behind_a_failure_comes_the_end(state: str) -> None:
    changes = [{"state": "no procfile"}, {"state": state}]
    stream = [message("state", {**CHANGE, **change}, 8) for change in changes]
    assert await wait(("running", state), SNAPSHOT, *stream, END) == state


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "no procfile", "error": "none found"}, "hello.web.0: no procfile: none found"),
        ({"state": "gone"}, "hello.web.0: gone"),
        ({"state": "pending"}, "hello.web.0: the agent has stopped"),
    ],
)
async def test_a_state_that_will_not_come_is_not_waited_for(
    change: dict[str, str], said: str
) -> None:
    with pytest.raises(ProcessFailedError, match=f"^{said}$"):
        await wait(("running",), SNAPSHOT + message("state", {**CHANGE, **change}, 8) + END)


async def test_readiness_is_waited_for() -> None:
    running, ready = {"state": "running"}, {"state": "running", "ready": True}
    changes = [message("state", {**CHANGE, **change}, 8) for change in (running, ready)]
    async with open_over(Agent([SNAPSHOT, *changes]), unused, reconnect_timeout=5) as client:
        await client.wait_ready(SLUG)
    last = message("state", {**CHANGE, "state": "finished"}, 8)
    async with open_over(Agent([SNAPSHOT + last]), unused, reconnect_timeout=5) as client:
        with pytest.raises(ProcessFailedError, match="finished"):
            await client.wait_ready(SLUG)


async def test_a_real_process_is_waited_for_and_restarted() -> None:
    async with open_world() as world, open_client(world.url) as client:
        with pytest.raises(NoSuchProcessError):
            await client.wait_state(SLUG, "running")
        await client.create(**CREATE)
        assert await client.wait_state(SLUG, "running") == "running"
        await client.wait_ready(SLUG)
        assert (await client.status(SLUG)).ready
        child = await world.spawner.next_child()
        await client.send_signal(SLUG, "HUP")
        with pytest.raises(ClientError, match="signal"):
            await client.send_signal(SLUG, "NONE")
        assert (await client.restart(SLUG, wait=True)).restarts == 1
        assert child.terminated.is_set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.wait_state, SLUG, "gone")
            await client.delete(SLUG)


async def test_a_failure_is_not_restarted() -> None:
    async with open_world() as world, open_client(world.url) as client:
        await client.create(**{**CREATE, "process_type": "nothing"})
        with pytest.raises(ProcessFailedError, match="unknown process type"):
            await client.wait_state(SLUG, "running")
        with pytest.raises(ConflictError):
            await client.restart(SLUG)
