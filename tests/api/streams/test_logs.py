"""The log of a process over plain HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from smartmob_agent.api.streams.logs import FollowedLog, KeptLog
from smartmob_agent.config.settings import AgentConfig, OutputLimits
from smartmob_agent.http.extensions import ClientLink
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.testing import FakeChild
from tests.api.asgi import Site, open_site
from tests.process.world import World, settle, wall_clock

Clock = trio.testing.MockClock
NOW = "2026-01-01T00:00:00.000Z"


async def make_log(world: World, site: Site, lines: int = 3) -> FakeChild:
    await site.create()
    child = await world.spawner.next_child()
    for number in range(1, lines + 1):
        (child.write if number % 2 else child.write_error)(b"%d\n" % number)
        await settle()
    return child


@pytest.mark.parametrize(
    ("query", "first", "text"),
    [
        ("", "1", "1\n2\n3\n"),
        ("?tail=2", "2", "2\n3\n"),
        ("?after=1", "2", "2\n3\n"),
        ("?after=3", "4", ""),
        ("?tail=0", "4", ""),
        ("?stream=stderr", "1", "2\n"),
    ],
)
async def test_text_is_the_lines_that_are_kept(
    autojump_clock: Clock, query: str, first: str, text: str
) -> None:
    world = World()
    async with open_site(world) as site:
        await make_log(world, site)
        answer = await site.client.get(f"/process-log/app.web.0{query}")
        assert (answer.text, answer.headers["lines-missed"]) == (text, "0")
        assert answer.headers["first-line"] == first
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_json_is_one_document_of_records(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await make_log(world, site)
        answer = await site.client.get("/process-log/app.web.0?format=json")
        assert answer.json()["records"] == [
            {"event": "started", "time": NOW, "pid": 1000, "port": 20000},
            {"seq": 1, "time": NOW, "stream": "stdout", "pid": 1000, "line": "1"},
            {"seq": 2, "time": NOW, "stream": "stderr", "pid": 1000, "line": "2"},
            {"seq": 3, "time": NOW, "stream": "stdout", "pid": 1000, "line": "3"},
        ]


@pytest.mark.parametrize("format_", ["text", "json", "ndjson"])
async def test_a_gap_is_told(autojump_clock: Clock, format_: str) -> None:
    world = World(config=AgentConfig(output=OutputLimits(console_bytes=5000)))
    async with open_site(world) as site:
        await make_log(world, site, 50)
        oldest = site.supervisor.get("app.web.0").console.items[0].first
        answer = await site.client.get(f"/process-log/app.web.0?after=10&format={format_}")
        assert answer.headers["lines-missed"] == str(oldest - 11)
        assert answer.headers["first-line"] == str(oldest)
        gap: Any = {"event": "dropped", "lines": oldest - 11}
        if format_ == "json":
            assert answer.json()["records"][0] == gap
        elif format_ == "ndjson":
            assert json.loads(answer.text.splitlines()[0]) == gap
        else:
            assert answer.text.splitlines()[0] == str(oldest)


async def test_a_followed_log_goes_on_until_the_end(autojump_clock: Clock) -> None:
    """The client of these tests shows an answer when it is whole."""
    world, bodies = World(), {}
    async with open_site(world) as site:
        child = await make_log(world, site)

        async def follow(format_: str) -> None:
            answer = await site.client.get(
                f"/process-log/app.web.0?follow=1&tail=1&format={format_}"
            )
            bodies[format_] = answer.text.splitlines()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, "text")
            nursery.start_soon(follow, "ndjson")
            await settle()
            child.write(b"4\n")
            await settle()
            await site.supervisor.delete("app.web.0")
    assert bodies["text"] == ["3", "4"]
    assert [json.loads(line) for line in bodies["ndjson"]] == [
        {"seq": 3, "time": NOW, "stream": "stdout", "pid": 1000, "line": "3"},
        {"seq": 4, "time": NOW, "stream": "stdout", "pid": 1000, "line": "4"},
        {"event": "exited", "time": NOW, "pid": 1000, "signal": "SIGTERM"},
        {"event": "end", "reason": "process"},
    ]


async def test_the_head_of_a_followed_log_can_be_had() -> None:
    """Its body would have no end."""
    async with open_site() as site:
        await site.create()
        answer = await site.client.head("/process-log/app.web.0?follow=1")
        assert (answer.status_code, answer.content) == (200, b"")


async def test_a_followed_text_that_begins_with_a_gap_says_so_and_goes_on(
    autojump_clock: Clock,
) -> None:
    """Else a client that asks again behind its last line would be cut off for ever."""
    world = World(config=AgentConfig(output=OutputLimits(console_bytes=5000)))
    async with open_site(world) as site, trio.open_nursery() as nursery:
        await make_log(world, site, 50)
        oldest = site.supervisor.get("app.web.0").console.items[0].first

        async def follow() -> None:
            answer = await site.client.get("/process-log/app.web.0?follow=1&after=10")
            assert answer.headers["first-line"] == str(oldest)
            assert answer.headers["lines-missed"] == str(oldest - 11)
            assert answer.text.split() == [str(number) for number in range(oldest, 51)]

        nursery.start_soon(follow)
        await settle()
        await site.supervisor.delete("app.web.0")


async def test_a_follower_gets_much_at_once_but_not_all() -> None:
    console = Console(1 << 20, wall_clock)
    log = FollowedLog(console, console.subscribe(), "text", ClientLink(), 20)
    for _ in range(100):
        console.publish(Stream.STDOUT, b"x" * 999 + b"\n")
    console.close(ConsoleEnd.PROCESS)
    assert [len(part) async for part in log] == [66_000, 34_000]


@pytest.mark.parametrize("format_", ["json", "ndjson"])
async def test_records_are_made_as_they_are_sent(format_: str) -> None:
    """Those of short lines take a hundred times as much as these."""
    console = Console(1 << 20, wall_clock)
    console.publish(Stream.STDOUT, b"\n" * 5000)
    log = KeptLog(console.subscribe(tail=5000), format_)
    console.publish(Stream.STDOUT, b"later\n")
    parts = [part async for part in log]
    text = b"".join(parts).decode()
    records = (
        json.loads(text)["records"]
        if format_ == "json"
        else [json.loads(line) for line in text.splitlines()]
    )
    assert [record["seq"] for record in records] == list(range(1, 5001))
    assert (len(parts), max(map(len, parts)) < 66_000) == (7, True)


@pytest.mark.parametrize(
    ("format_", "body"), [("text", b""), ("ndjson", b""), ("json", b'{"records": []}')]
)
async def test_a_log_may_be_empty(format_: str, body: bytes) -> None:
    log = KeptLog(Console(1 << 20, wall_clock).subscribe(tail=9), format_)
    assert b"".join([part async for part in log]) == body


async def follow_with_gap(format_: str, aborts: list[str]) -> list[bytes]:
    console = Console(3000, wall_clock)
    client = ClientLink(abort=lambda: aborts.append("abort"))
    log = FollowedLog(console, console.subscribe(), format_, client, 20)
    for number in range(10):
        console.publish(Stream.STDOUT, b"%d\n" % number)
    console.close(ConsoleEnd.PROCESS)
    return [part async for part in log]


async def test_a_follower_of_text_that_was_too_slow_is_cut_off() -> None:
    """Its answer has no proper end, so it cannot be taken for the whole log."""
    aborts: list[str] = []
    assert await follow_with_gap("text", aborts) == []
    assert aborts == ["abort"]


async def test_a_follower_of_records_is_told_the_gap() -> None:
    aborts: list[str] = []
    first, *_rest = await follow_with_gap("ndjson", aborts)
    assert json.loads(first)["event"] == "dropped"
    assert aborts == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/process-log/nobody.0", 404),
        ("/process-log/app.web.0?tail=x", 400),
        ("/process-log/app.web.0?after=99", 400),
        ("/process-log/app.web.0?format=json&follow=1", 400),
    ],
)
async def test_what_cannot_be_had_is_a_problem(path: str, status: int) -> None:
    async with open_site() as site:
        await site.create()
        answer = await site.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (
            status,
            "application/problem+json",
        )
