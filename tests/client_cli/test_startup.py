"""The first second of a child: whether it runs, and what is said if not."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.client import NoSuchProcessError, ProcessFailedError
from smartmob_agent.client.client import open_over
from smartmob_agent.client.network import Answer, Body, Query, StreamedAnswer
from smartmob_agent.client_cli.startup import check_start
from tests.client.memory import Parts
from tests.client.test_documents import STATUS
from tests.client.test_events import CHANGE, message
from tests.e2e.agent import LIMIT, running_agent

Clock = trio.testing.MockClock
SLUG = "hello.web.0"
PID = 5
NEW = {**STATUS, "state": "pending", "restarts": 0, "exit": None, "error": None}
CODE = {"code": 3}
ENDED = "the child ended with exit code 3 after 0.4 s"


def change(state: str, second: float, **fields: object) -> bytes:
    time = f"2026-01-01T00:00:{second:06.3f}Z"
    return message("state", {**CHANGE, "state": state, "time": time, **fields})


def snapshot(**fields: object) -> bytes:
    return message("snapshot", {"processes": [{**NEW, **fields}]})


def record(text: str, *, pid: int = PID) -> bytes:
    """A line of output, or an event."""
    if text in ("started", "exited"):
        return json.dumps({"event": text, "time": CHANGE["time"], "pid": pid}).encode()
    line = {"seq": 1, "time": CHANGE["time"], "stream": "stderr", "line": text}
    return json.dumps(line).encode()


RUNS = change("running", 1, pid=PID)
DIES = change("backoff", 1.4, pid=None, exit=CODE, error=ENDED)
RUNNING = {"state": "running", "pid": PID, "started_at": "2026-01-01T00:00:01.000Z"}


@attrs.define(eq=False)
class Agent:
    """Has one process.

    news: seconds before each, and the text.
    statuses: answered one after the other; None: no such process.
    records: of its console, which does not end by itself.
    """

    news: Sequence[tuple[float, bytes]]
    statuses: list[Mapping[str, Any] | None] = attrs.field(factory=list)
    records: Sequence[bytes] = ()

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
        if path.startswith("/process-log/"):
            return Answer(headers={"First-Line": "1", "Lines-Missed": "0"})
        status = self.statuses.pop(0) if self.statuses else STATUS
        if status is None:
            raise NoSuchProcessError(404, "no process has the slug")
        return Answer(headers={}, body=json.dumps(status).encode())

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[StreamedAnswer]:
        assert path == "/events"
        await trio.lowlevel.checkpoint()
        yield StreamedAnswer(headers={}, parts=News(iter(self.news)))

    @asynccontextmanager
    async def open(self, path: str, query: Query) -> AsyncGenerator[Endless]:
        await trio.lowlevel.checkpoint()
        yield Endless(iter([*self.records]), lost=False)


@attrs.define(eq=False)
class News:
    """What comes, each after its time, and no end."""

    news: Iterator[tuple[float, bytes]]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for delay, text in self.news:
            await trio.sleep(delay)
            return text
        return await trio.sleep_forever()


class Endless(Parts):
    async def __anext__(self) -> bytes:
        try:
            return await super().__anext__()
        except StopAsyncIteration:
            return await trio.sleep_forever()


async def check(agent: Agent, **options: Any) -> int:
    async with open_over(agent, lambda: agent, reconnect_timeout=60) as client:
        return await check_start(client, SLUG, **options)


@pytest.mark.parametrize(
    ("news", "restarts"),
    [
        ([(0, snapshot()), (5, RUNS)], 0),
        ([(0, snapshot(state="processing") + change("unpacking", 1)), (5, RUNS)], 0),
        ([(5, snapshot(**RUNNING))], 0),
        ([(5, snapshot(**RUNNING, restarts=4, exit=CODE))], 4),
        ([(0, snapshot()), (1, message("gap", {"missed": 1}) + snapshot()), (4, RUNS)], 0),
    ],
)
async def test_a_child_that_runs_for_a_second_is_good(
    news: list[tuple[float, bytes]],
    restarts: int,
    autojump_clock: Clock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    agent = Agent(news, [{**NEW, **RUNNING, "restarts": restarts}])
    assert await check(agent, restarts=restarts) == 0
    assert trio.current_time() == 6.0
    assert capsys.readouterr() == ("", "")


async def test_late_news_is_judged_by_the_time_of_the_agent(
    autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = change("backoff", 2, exit=CODE, error="the child ended with exit code 3 after 1.0 s")
    assert await check(Agent([(0, snapshot()), (9, RUNS + ends)])) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "news",
    [
        [(0, snapshot()), (0, RUNS), (0.4, DIES)],
        [(0, snapshot()), (0, RUNS + DIES)],
        [(0, snapshot(**RUNNING)), (0.4, DIES)],
        # The client was slow, or the connection was lost for a while.
        [(0, snapshot(state="backoff", exit=CODE, error=ENDED))],
        [(0, snapshot(**RUNNING)), (9, DIES)],
    ],
)
async def test_a_child_that_ends_earlier_is_told_with_its_last_lines(
    news: list[tuple[float, bytes]], autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more of them than help, and only of that child."""
    lines = ["started", *map(str, range(30)), "\x1b[2J\x1b[31mlast\x1b[0m\ttab", "exited", "next"]
    agent = Agent(news, records=[*map(record, lines)])
    assert await check(agent) == 1
    told = "".join(f"    {number}\n" for number in range(11, 30))
    assert capsys.readouterr().err == (
        f"smartmob: {SLUG}: {ENDED}; it is tried again; its last lines:\n{told}    last\ttab\n"
    )


async def test_a_child_that_has_a_follower_already_is_told_without_a_reason(
    autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = Agent([(0, snapshot(**RUNNING, restarts=1, exit=CODE))])
    assert await check(agent, show=False) == 1
    assert capsys.readouterr().err == (
        f"smartmob: {SLUG}: the child ended with exit code 3; it is tried again\n"
    )


async def test_lines_of_the_child_before_are_not_of_this_one(
    autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [record("old"), record("exited", pid=4)]
    dropped = json.dumps({"event": "dropped", "lines": 3}).encode()
    records = [*before, record("started"), dropped, record("new"), record("exited")]
    news = [(0.0, snapshot(**RUNNING)), (0.4, DIES)]
    for known, events in ((None, news), (PID, [(0, snapshot(state="backoff", exit=CODE))])):
        assert await check(Agent(events, records=records), pid=known) == 1
        assert capsys.readouterr().err.endswith("its last lines:\n    new\n")


async def test_output_without_an_end_is_not_waited_for_long(
    autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    news = [(0.0, snapshot(**RUNNING)), (0.4, DIES)]
    agent = Agent(news, records=[record("so far")])
    assert await check(agent) == 1
    assert trio.current_time() == 10.4
    assert capsys.readouterr().err.endswith("its last lines:\n    so far\n")


async def test_who_could_not_be_started_has_no_lines(
    autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = change("backoff", 1, pid=None, error="no room")
    assert await check(Agent([(0, snapshot()), (1, failed)], records=[record("a")])) == 1
    assert capsys.readouterr().err == f"smartmob: {SLUG}: no room; it is tried again\n"


async def test_no_news_is_not_taken_for_good_news(
    autojump_clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The connection was lost: the status knows more, and the event comes."""
    agent = Agent([(0, snapshot(**RUNNING)), (30, DIES)], [{**NEW, "state": "backoff"}])
    assert await check(agent, show=False) == 1
    assert trio.current_time() == 30.0
    assert ENDED in capsys.readouterr().err


@pytest.mark.parametrize(
    ("news", "statuses", "said"),
    [
        ([(0, message("snapshot", {"processes": []}))], [], "it was deleted"),
        ([(0, snapshot(**RUNNING)), (0.5, change("stopping", 1))], [None], "it was deleted"),
        ([(0, snapshot(**RUNNING)), (0.5, change("gone", 1))], [], "it was deleted"),
        ([(0, snapshot() + message("end", {"reason": "agent"}))], [], "the agent has stopped"),
    ],
)
async def test_an_end_from_outside_is_told(
    news: list[tuple[float, bytes]],
    statuses: list[Mapping[str, Any] | None],
    said: str,
    autojump_clock: Clock,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert await check(Agent(news, statuses)) == 1
    assert capsys.readouterr().err == (
        f"smartmob: {SLUG}: {said} before the child had run for 1 s\n"
    )


async def test_a_failure_is_an_error() -> None:
    failed = change("no procfile", 1, pid=None, error="none found")
    with pytest.raises(ProcessFailedError, match="no procfile: none found"):
        await check(Agent([(0, snapshot() + failed)]))


@pytest.mark.slow
@pytest.mark.measures_children
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("no-such-command", 1, "no-such-command: not found\n"),
        ("echo why >&2; exit 3", 1, " s; it is tried again; its last lines:\n    why\n"),
        ("exit 0", 1, "the child ended with exit code 0 after "),
        ("kill -s KILL $$", 1, "the child ended with SIGKILL after "),
        ("exec sleep 1000", 0, ""),
    ],
)
async def test_an_app_that_does_not_run_is_told(
    line: str, code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "Procfile").write_text(f"web: {line}\n")
    command = [sys.executable, "-m", "smartmob_agent.client_cli", "run", str(tmp_path)]
    with trio.fail_after(LIMIT):
        async with running_agent("--stop-timeout=0") as agent:
            result = await trio.run_process(
                [*command, "--agent", agent.url, "--app", "a"],
                check=False,
                capture_stdout=True,
                capture_stderr=True,
            )
    assert (result.returncode, result.stdout) == (code, b"a.web.0\n")
    assert said in result.stderr.decode()
    assert bool(result.stderr) == bool(said)
