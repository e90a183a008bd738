"""Output that stays, over HTTP and by the client: an agent with a state directory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio

from smartmob_agent import AgentConfig, OutputLimits
from smartmob_agent.client import Client, Line, NoSuchProcessError, open_client
from smartmob_agent.client.log import LogReader
from smartmob_agent.client.reconnect import ReconnectBackoff
from smartmob_agent.output.line_pattern import SlowPatternError
from smartmob_agent.output.log import log_cursor
from tests.client.agent import CREATE, World, open_world

SLUG = "hello.web.0"
PATH = f"/process-log/{SLUG}"
SLOW = "(a|aa)+$"
SLOW_LINE = b"a" * 60 + b"b\n"


@attrs.frozen
class Stored:
    """An agent whose process has written 100 lines, most of which its console has no more."""

    world: World
    client: Client
    http: httpx.AsyncClient

    async def get(self, **query: object) -> httpx.Response:
        return await self.http.get(PATH, params=query)  # type: ignore[arg-type]  # numbers and texts


@asynccontextmanager
async def open_stored(tmp_path: Path, lines: int = 100) -> AsyncIterator[Stored]:
    config = AgentConfig(
        port=0, stop_timeout=0, state_dir=tmp_path / "state", output=OutputLimits(console_bytes=1)
    )
    async with (
        open_world(config) as world,
        open_client(world.url) as client,
        httpx.AsyncClient(base_url=world.url, timeout=30) as http,
    ):
        await client.create(**CREATE)
        child = await world.spawner.next_child()
        async with client.attach(SLUG, after=0) as attached:
            for number in range(1, lines + 1):
                (child.write_error if number % 10 == 0 else child.write)(b"line %d\n" % number)
                await attached.receive()
        yield Stored(world, client, http)


def numbers(records: list[dict[str, Any]]) -> list[int]:
    return [record["seq"] for record in records if "seq" in record]


async def test_a_log_reaches_back_to_the_disk(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        text = await stored.get()
        assert text.text == "".join(f"line {number}\n" for number in range(1, 101))
        headers = ("First-Line", "Lines-Missed", "Lines-Lost")
        assert [text.headers[name] for name in headers] == ["1", "0", "0"]
        records = (await stored.get(format="json", after=10)).json()["records"]
        assert numbers(records) == [*range(11, 101)]
        lines = (await stored.get(format="ndjson", grep="9$")).text.splitlines()
        assert numbers([json.loads(line) for line in lines]) == [*range(9, 101, 10)]
        assert (await stored.get(since="1h", until="0", stream="stderr", tail=2)).text == (
            "line 90\nline 100\n"
        )
        assert (await stored.get(since="2000-01-01T00:00:00+01:00", tail=1)).text == "line 100\n"
        assert (await stored.get(since="2999-01-01T00:00:00Z")).text == ""
        assert (await stored.http.head(PATH)).headers["First-Line"] == "1"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"after": 101}, "expected the number of a line up to 100, found 101 @ after"),
        ({"since": "soon"}, "expected a time such as 2026-01-31T12:00:00Z, or how long ago that "),
        ({"since": "2026-01-31T12:00:00"}, "expected a time such as"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "expected a time such as"),
    ],
)
async def test_what_cannot_be_found_is_told(
    tmp_path: Path, query: dict[str, object], error: str
) -> None:
    async with open_stored(tmp_path) as stored:
        answer = await stored.get(**query)
        assert answer.status_code == 400
        assert answer.json()["errors"][0].startswith(error)


@pytest.mark.parametrize("format_", ["text", "ndjson"])
async def test_a_followed_log_begins_on_the_disk(tmp_path: Path, format_: str) -> None:
    async with open_stored(tmp_path) as stored:
        seen: list[str] = []
        query: dict[str, str | int] = {"follow": 1, "format": format_, "grep": "5$", "since": "1h"}
        async with stored.http.stream("GET", PATH, params=query) as answer:
            async for line in answer.aiter_lines():
                seen.append(line)
                if len(seen) == 10:
                    await stored.client.delete(SLUG)
    if format_ == "text":
        assert seen == [f"line {number}" for number in range(5, 101, 10)]
    else:
        assert numbers([json.loads(line) for line in seen]) == [*range(5, 101, 10)]
        assert json.loads(seen[-1]) == {"event": "end", "reason": "process"}


async def test_a_deleted_process_can_be_read_and_a_new_one_goes_on(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        await stored.client.delete(SLUG)
        assert (await stored.get(tail=1)).text == "line 100\n"
        followed = await stored.get(follow=1, tail=1, format="ndjson")
        assert json.loads(followed.text.splitlines()[-1]) == {"event": "end", "reason": "process"}
        parts = [part.data async for part in stored.client.log(SLUG, tail=2)]
        assert b"".join(parts) == b"line 99\nline 100\n"
        with pytest.raises(NoSuchProcessError):
            [part async for part in stored.client.log("other.web.0")]
        await stored.client.create(**CREATE)
        child = await stored.world.spawner.next_child()
        async with stored.client.attach(SLUG, after=98) as lines:
            child.write(b"new\n")
            seen = [await lines.receive() for _ in range(3)]
        assert [(line.seq, line.text) for line in seen] == [
            (99, "line 99"),
            (100, "line 100"),
            (101, "new"),
        ]


async def lose(stored: Stored, lines: bytes) -> None:
    """Have the disk lose some lines, and then write one."""
    process = stored.world.agent.supervisor.get(SLUG)
    console, log = process.console, process.log
    assert log is not None
    from smartmob_agent.output.batch import Stream

    log.put_bytes += 10**9  # As if so much were waiting.
    console.publish(Stream.STDOUT, lines)
    log.put_bytes -= 10**9
    console.publish(Stream.STDOUT, b"last\n")


async def test_a_gap_within_is_told_in_each_format(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        await lose(stored, b"lost\n" * 5)
        text = await stored.get(after=98)
        assert text.text == "line 99\nline 100\nlast\n"
        assert text.headers["Lines-Lost"] == "5"
        lines = (await stored.get(after=98, format="ndjson")).text.splitlines()
        assert json.loads(lines[2]) == {"event": "dropped", "lines": 5}
        records = (await stored.get(after=98, format="json")).json()["records"]
        assert records[2] == {"event": "dropped", "lines": 5}
        parts = [(p.data, p.missed) async for p in stored.client.log(SLUG, after=98)]
        assert parts == [(b"line 99\nline 100\n", 0), (b"", 5), (b"last\n", 0)]
        found = [p.data async for p in stored.client.log(SLUG, grep="las|99")]
        assert b"".join(found) == b"line 99\nlast\n"
        nothing = [p.data async for p in stored.client.log(SLUG, grep="no such line")]
        assert b"".join(nothing) == b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stored.client.delete, SLUG)
            followed = await stored.get(follow=1, after=98)
        assert followed.text == "line 99\nline 100\nlast\n"


async def test_an_attach_that_resumes_reaches_back_too(tmp_path: Path) -> None:
    async with open_stored(tmp_path) as stored:
        async with stored.client.attach(SLUG, tail=95, stream="stderr") as lines:
            assert [(await lines.receive()).seq for _ in range(10)] == [*range(10, 101, 10)]
        await lose(stored, b"lost\n" * 5)
        async with stored.client.records(SLUG, after=0) as records:
            seen = [await records.receive() for _ in range(103)]
        assert [record.seq for record in seen if isinstance(record, Line)] == [*range(1, 101), 106]
        gap = [str(record) for record in seen if str(record).startswith("dropped")]
        assert gap == ["dropped lines=5"]


@pytest.mark.parametrize("follow", [0, 1])
async def test_a_pattern_that_takes_too_long_is_told_or_cut_off(
    tmp_path: Path, follow: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_stored(tmp_path, 3) as stored:
        process = stored.world.agent.supervisor.get(SLUG)
        from smartmob_agent.output.batch import Stream

        process.console.publish(Stream.STDOUT, SLOW_LINE)
        if follow:
            with pytest.raises(httpx.HTTPError):
                await stored.get(grep=SLOW, follow=1)
            assert "log cut off" in caplog.text
        else:
            answer = await stored.get(grep=SLOW)
            assert answer.json()["errors"] == [f"{SlowPatternError()} @ grep"]


async def test_a_log_whose_rest_cannot_be_had_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError("a disk that fails")

    async with open_stored(tmp_path, 3) as stored:
        monkeypatch.setattr(log_cursor, "read_items", fail)
        with pytest.raises(httpx.HTTPError):
            await stored.get()
        assert [record.error for record in caplog.records if hasattr(record, "error")] == [
            "a disk that fails"
        ]


async def test_what_was_told_of_a_crash_is_kept(tmp_path: Path) -> None:
    async with open_stored(tmp_path, 30) as stored:
        child = stored.world.spawner.children[-1]
        child.exit(code=3)
        await stored.world.spawner.next_child()
        crash = (await stored.client.status(SLUG)).document["last_crash"]
        assert crash["exit"] == {"code": 3}
        # The console of this test holds no more.
        assert crash["lines"] == []
    config = AgentConfig(port=0, stop_timeout=0, state_dir=tmp_path / "state")
    async with open_world(config) as world, open_client(world.url) as client:
        assert (await client.status(SLUG)).document["last_crash"] == crash
        await world.spawner.next_child()
        await client.restart(SLUG)
        assert (await client.status(SLUG)).document["last_crash"] is None


def test_gaps_and_events_among_records_are_told_apart() -> None:
    """As they come: at the beginning, two in a row, and other events between them."""
    reader = LogReader(
        None,  # type: ignore[arg-type]  # It is not asked.
        SLUG,
        form="text",
        query={"grep": "x"},
        backoff=ReconnectBackoff(0, SLUG),
    )
    line = '{"seq": 1, "time": "2026-01-01T00:00:00Z", "stream": "stdout", "line": "x"}\n'
    gap = '{"event": "dropped", "lines": 2}\n'
    other = '{"event": "started", "time": "2026-01-01T00:00:00Z", "pid": 1}\n'
    parts = [(one.data, one.missed) for one in reader._shown((gap + other + line + gap).encode())]
    assert parts == [(b"", 2), (b"x\n", 0), (b"", 2)]
