"""Events as a browser reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
import httpx
import pytest
import trio
import trio.testing

from smartmob_agent.api.streams.events import EventStream, Selection
from smartmob_agent.api.streams.following import QuietTimer
from smartmob_agent.config.settings import AgentConfig, OutputLimits
from smartmob_agent.http.extensions import ClientLink
from smartmob_agent.process.states import State
from tests.api.asgi import Site, make_links, open_site
from tests.process.test_events import START
from tests.process.world import World, make_spec, running, settle

Clock = trio.testing.MockClock


@attrs.frozen
class Message:
    """What a browser dispatches: kind, data, and the id that it remembers from then on."""

    kind: str
    data: Any
    last_id: str


def parse(text: str) -> list[Message]:
    """HTML Living Standard, section 9.2.6, for the fields that are used."""
    messages, last_id = [], ""
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        last_id = fields.get("id", last_id)
        if "data" in fields:
            messages.append(Message(fields["event"], json.loads(fields["data"]), last_id))
    return messages


def states(messages: list[Message]) -> list[tuple[int, str, str]]:
    """Number, slug and state of each step."""
    return [
        (int(m.last_id) - START, m.data["slug"], m.data["state"])
        for m in messages
        if m.kind == "state"
    ]


async def ask(site: Site, query: str = "", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await site.client.get(f"/events{query}", headers=named)


async def test_a_stream_begins_with_all_that_is_and_goes_on_to_the_end(
    autojump_clock: Clock,
) -> None:
    async with open_site() as site:
        await running(site.supervisor)
        found: list[Message] = []

        async def follow() -> None:
            answer = await ask(site)
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store, no-transform"
            found.extend(parse(answer.text))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await settle()
            await site.supervisor.delete("app.web.0")
            site.supervisor.close()
    snapshot, *steps, end = found
    assert (snapshot.kind, snapshot.last_id) == ("snapshot", str(START + 5))
    assert snapshot.data["seq"] == START + 5
    status = (snapshot.data["processes"])[0]
    assert (status["slug"], status["state"]) == ("app.web.0", "running")
    assert status["details"] == "http://agent/process-status/app.web.0"
    assert states(steps) == [(6, "app.web.0", "stopping"), (7, "app.web.0", "gone")]
    assert (end.kind, end.data) == ("end", {"reason": "agent"})


async def test_a_step_as_json(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        process = await running(site.supervisor)
        await trio.sleep(2)
        world.spawner.children[0].exit(3)
        await process.wait_state(State.BACKOFF)
        steps = parse((await ask(site, f"?follow=0&after={START}")).text)
    (record,) = [step.data for step in steps if step.data["state"] == "backoff"]
    assert record == {
        "seq": START + 6,
        "time": "2026-01-01T00:00:02.000Z",
        "slug": "app.web.0",
        "app": "app",
        "node": "web.0",
        "process_type": "web",
        "previous": "running",
        "state": "backoff",
        "pid": None,
        "release": None,
        "port": 20000,
        "ready": False,
        "restarts": 0,
        "failures": 0,
        "exit": {"code": 3},
        "error": "the child ended with exit code 3 after 2.0 s",
        "started_at": "2026-01-01T00:00:00.000Z",
        "next_start_at": "2026-01-01T00:00:03.000Z",
    }


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_reader_goes_on_where_it_was(autojump_clock: Clock, *, by_header: bool) -> None:
    async with open_site() as site:
        await running(site.supervisor)
        last = str(START + 2)
        if by_header:
            answer = await ask(site, "?follow=0&after=1", Last_Event_ID=last)
        else:
            answer = await ask(site, f"?follow=0&after={last}")
        assert states(parse(answer.text)) == [
            (3, "app.web.0", "processing"),
            (4, "app.web.0", "running"),
            (5, "app.web.0", "running"),
        ]


async def test_who_has_everything_gets_nothing(autojump_clock: Clock) -> None:
    async with open_site() as site:
        await running(site.supervisor)
        answer = await ask(site, "?follow=0", Last_Event_ID=str(START + 5))
        assert answer.text == ""


async def test_a_gap_is_told_and_followed_by_all_that_is(autojump_clock: Clock) -> None:
    world = World(config=AgentConfig(output=OutputLimits(events_bytes=5000)))
    async with open_site(world) as site:
        await running(site.supervisor)
        gap, snapshot = parse((await ask(site, "?follow=0", Last_Event_ID=str(START))).text)
        assert (gap.kind, gap.data) == ("gap", {"missed": 3})
        assert (snapshot.kind, snapshot.last_id) == ("snapshot", str(START + 5))


@pytest.mark.parametrize("last", ["7", str(START + 1000), "x", ""])
async def test_who_comes_from_another_life_of_the_agent_is_told_of_a_gap(
    autojump_clock: Clock, last: str
) -> None:
    async with open_site() as site:
        await running(site.supervisor)
        gap, snapshot = parse((await ask(site, "?follow=0", Last_Event_ID=last)).text)
        assert (gap.kind, gap.data, snapshot.kind) == ("gap", {"missed": None}, "snapshot")


@pytest.mark.parametrize(
    ("query", "slugs"),
    [
        ("", {"a.web.0", "a.web.1", "b.web.0"}),
        ("&slug=a.web.1", {"a.web.1"}),
        ("&slug=a.web.1&slug=b.web.0&slug=c.web.0", {"a.web.1", "b.web.0"}),
        ("&app=a", {"a.web.0", "a.web.1"}),
        ("&app=a&slug=b.web.0", set()),
    ],
)
async def test_a_reader_may_choose(autojump_clock: Clock, query: str, slugs: set[str]) -> None:
    async with open_site() as site:
        for app, node in (("a", "web.0"), ("a", "web.1"), ("b", "web.0")):
            await running(site.supervisor, make_spec(app, node))
        (snapshot,) = parse((await ask(site, f"?follow=0{query}")).text)
        assert {process["slug"] for process in snapshot.data["processes"]} == slugs
        steps = parse((await ask(site, f"?follow=0&after={START}{query}")).text)
        assert {slug for _, slug, _ in states(steps)} == slugs


async def follow(site: Site, selection: Mapping[str, frozenset[str]]) -> EventStream:
    timer = QuietTimer(ClientLink(), 20)
    stream = EventStream(site.supervisor, Selection(**selection), make_links("http://agent"), timer)
    stream.begin()
    assert (await anext(stream)).startswith(b"event: snapshot\n")
    return stream


async def test_a_quiet_stream_gives_signs_of_life_with_the_number_it_has_come_to(
    autojump_clock: Clock,
) -> None:
    """Who wants few events would else come again with a number that is long gone."""
    async with open_site() as site:
        stream = await follow(site, {"apps": frozenset({"other"})})
        parts = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                parts.extend([await anext(stream), trio.current_time()])

            nursery.start_soon(read)
            await settle()
            await running(site.supervisor)
        assert parts == [b": %d\n" % (START + 5), 20]


async def test_a_reader_that_is_too_slow_is_told_and_cut(autojump_clock: Clock) -> None:
    world = World(config=AgentConfig(output=OutputLimits(events_bytes=5000)))
    async with open_site(world) as site:
        stream = await follow(site, {})
        process = await running(site.supervisor)
        assert process.ready
        parts = [part async for part in stream]
        assert parts == [b'event: gap\ndata: {"missed": 4}\n\n']


@pytest.mark.parametrize("query", ["?x=1", "?follow=2", "?follow=1&follow=1", "?after=x"])
async def test_a_wrong_option_is_told(query: str) -> None:
    async with open_site() as site:
        assert (await ask(site, query)).status_code == 400


async def test_the_head_of_a_stream_can_be_had() -> None:
    async with open_site() as site:
        answer = await site.client.head("/events")
        assert (answer.status_code, answer.content) == (200, b"")
