"""Logs and attachments over lost connections, with an agent in memory."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from smartmob_agent.client import (
    BadAnswerError,
    ConnectionLostError,
    Event,
    Line,
    LogPart,
    NoSuchProcessError,
    ProcessEndedError,
)
from smartmob_agent.client.log import first_line
from tests.client.memory import MemoryAgent, client_of

Clock = trio.testing.MockClock
SLUG = "hello.web.0"
LINES = [f"line {number}" for number in range(1, 8)]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


async def read_log(agent: MemoryAgent, form: str = "text", **options: int) -> list[LogPart]:
    async with client_of(agent) as client:
        return [part async for part in client.log(SLUG, form=form, **options)]  # type: ignore[arg-type]  # numbers


async def read_lines(agent: MemoryAgent, **options: int) -> list[str]:
    async with client_of(agent) as client:
        return [line.text async for line in client.attach(SLUG, **options)]  # type: ignore[arg-type]  # numbers


def paths(agent: MemoryAgent) -> list[str]:
    return [path.split("/")[1] for path, _ in agent.asked]


async def test_a_log_comes_whole() -> None:
    agent = MemoryAgent(LINES)
    assert b"".join(part.data for part in await read_log(agent)) == TEXT
    assert agent.asked[-1] == (f"/process-log/{SLUG}", {"format": "text", "follow": 0})


async def test_a_log_over_lost_connections_comes_whole(autojump_clock: Clock) -> None:
    agent = MemoryAgent(LINES, cuts=[3, 0, 2])
    assert b"".join(part.data for part in await read_log(agent)) == TEXT
    afters = [query["after"] for path, query in agent.asked if "after" in query]
    assert afters == [3, 3, 5]
    assert trio.current_time() == 0.5


async def test_a_log_that_comes_in_pieces_of_lines_comes_whole(autojump_clock: Clock) -> None:
    agent = MemoryAgent(LINES, cuts=[2, 1, 4], part_bytes=5)
    assert b"".join(part.data for part in await read_log(agent)) == TEXT


async def test_a_log_that_lost_lines_says_so_in_its_place(autojump_clock: Clock) -> None:
    agent = MemoryAgent(LINES, cuts=[2])

    async with client_of(agent) as client, client.log(SLUG) as log:
        assert (await log.receive()).data == b"line 1\n"
        assert (await log.receive()).data == b"line 2\n"
        agent.kept_from = 5
        assert await log.receive() == LogPart(data=b"", missed=2)
        assert (await log.receive()).data == b"line 5\n"


async def test_a_log_as_records_has_its_gap_as_a_record() -> None:
    [*_, last] = await read_log(MemoryAgent(LINES, kept_from=5), "ndjson", after=2)
    assert last.data.startswith(b'{"event": "dropped", "lines": 2}\n{"seq": 5,')
    assert last.missed == 0


async def test_an_attachment_is_live_and_knows_why_it_ended() -> None:
    agent = MemoryAgent(LINES)
    async with client_of(agent) as client:
        attachment = client.attach(SLUG)
        assert [line async for line in attachment] == []
        assert (attachment.end, attachment.lost_lines) == ("process", 0)
    assert agent.asked[-1][1] == {"format": "json", "after": 7}


async def test_an_attachment_may_begin_earlier() -> None:
    assert await read_lines(MemoryAgent(LINES), tail=2) == LINES[-2:]
    assert await read_lines(MemoryAgent(LINES), after=4) == LINES[4:]


async def test_an_attachment_over_lost_connections_has_each_line_once(
    autojump_clock: Clock,
) -> None:
    agent = MemoryAgent(LINES, cuts=[0, 3, 2])
    assert await read_lines(agent, tail=7) == LINES
    attach = [query["after"] for path, query in agent.asked if path.startswith("/attach")]
    assert attach == [0, 0, 3, 5]


async def test_events_come_once_too(autojump_clock: Clock) -> None:
    agent = MemoryAgent(LINES, cuts=[3, 0, 1])
    async with client_of(agent) as client:
        records = [record async for record in client.records(SLUG, tail=2)]
    texts = [r.text if isinstance(r, Line) else r.name for r in records]
    assert texts == ["line 6", "line 7", "exited", "end"]


async def test_an_attachment_counts_what_it_lost() -> None:
    agent = MemoryAgent(LINES, kept_from=4)
    async with client_of(agent) as client:
        attachment = client.attach(SLUG, after=1)
        assert [line.seq async for line in attachment] == [4, 5, 6, 7]
        assert attachment.lost_lines == 2
        records = [record async for record in client.records(SLUG, after=1)]
        assert records[0] == Event(name="dropped", time=None, fields={"lines": 2})


async def test_a_process_that_is_not_there_is_told_at_once() -> None:
    agent = MemoryAgent(status=None)
    for read in (read_log, read_lines):
        with pytest.raises(NoSuchProcessError):
            await read(agent)


async def test_an_agent_that_is_not_there_is_told_at_once() -> None:
    for read in (read_log, read_lines):
        with pytest.raises(ConnectionLostError, match="down"):
            await read(MemoryAgent(down=1))


@pytest.mark.parametrize("form", ["text", "lines"])
async def test_an_agent_that_does_not_come_back_is_given_up(
    form: str, autojump_clock: Clock
) -> None:
    agent = MemoryAgent(LINES, cuts=[1])
    async with client_of(agent, reconnect_timeout=3.0) as client:
        feed = client.log(SLUG) if form == "text" else client.attach(SLUG, tail=7)
        await feed.receive()
        agent.down = 1000
        with pytest.raises(ConnectionLostError, match="down"):
            await feed.receive()
    assert agent.times[-4:] == [0.0, 0.5, 1.5, 3.0]


@pytest.mark.parametrize(
    ("changes", "how"),
    [(None, "deleted"), ({"created_at": "2026-01-01T00:00:09.000Z"}, "replaced by another one")],
)
async def test_another_process_is_not_taken_for_the_same(
    changes: dict[str, str] | None, how: str, autojump_clock: Clock
) -> None:
    """Its lines have the same numbers."""
    agent = MemoryAgent(LINES, cuts=[3])
    async with client_of(agent) as client, client.log(SLUG) as log:
        for _ in range(3):
            await log.receive()
        assert agent.status is not None
        agent.status = None if changes is None else {**agent.status, **changes}
        with pytest.raises(ProcessEndedError, match=f"{SLUG}' was {how} while the connection"):
            await log.receive()


@pytest.mark.parametrize("headers", [{}, {"First-Line": "x", "Lines-Missed": "0"}])
def test_a_log_must_say_where_it_begins(headers: dict[str, str]) -> None:
    with pytest.raises(BadAnswerError, match="expected a log that says where it begins"):
        first_line(headers)


async def test_what_lies_before_the_first_line_is_no_loss_where_none_was_asked_for() -> None:
    """With `tail=None` all there is comes; with `after` what is missing is told."""
    async with client_of(MemoryAgent(LINES, kept_from=3)) as client:
        records = [str(record) async for record in client.records(SLUG, tail=None)]
        assert records[:5] == LINES[2:]
        records = [str(record) async for record in client.records(SLUG, after=0)]
        assert records[:2] == ["dropped lines=2", LINES[2]]
