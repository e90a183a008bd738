"""An app that writes numbered lines, an agent that is killed again and again, and readers.

Each reader sees every line of what it asks for, or is told how many are gone; and no number ever
stands for two lines.  As a program it does so with many lines:

    python -m tests.e2e.log_soak 1000000 20 10 20
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from tests.e2e.agent import RunningAgent, archive_server, running_agent, shell_app

SLUG = "soak.web.0"
LIMIT = 1800.0

_WRITER = """
import os, sys, time
life = time.monotonic_ns()
number = 0
while number < {lines}:
    sys.stdout.write("".join(f"{{life}} {{number + i}}\\n" for i in range({step})))
    sys.stdout.flush()
    number += {step}
    time.sleep(0.002)
"""


@attrs.define(eq=False)
class Seen:
    """What all readers have seen.

    lines: number → text.
    told_gaps: how many lines readers were told to be gone, all together.
    reads: kind of reader → answers that were read.
    """

    lines: dict[int, str] = attrs.field(factory=dict)
    told_gaps: int = 0
    last: int = 0
    reads: Counter[str] = attrs.field(factory=Counter)

    def add(self, number: int, text: str) -> None:
        assert self.lines.setdefault(number, text) == text, f"{number} stands for two lines"
        self.last = max(self.last, number)


@attrs.define(eq=False)
class Checker:
    """Checks one answer: numbers go on one by one, but for gaps that are told."""

    seen: Seen
    wants: Callable[[str], bool] = lambda _: True
    expected: int | None = None
    gaps: int = 0
    lines: list[str] = attrs.field(factory=list)

    def take(self, record: Mapping[str, Any]) -> None:
        if "seq" in record:
            number, text = record["seq"], record["line"]
            if self.expected is not None and self.wants is ALL:
                assert number == self.expected, f"expected line {self.expected}, found {number}"
            assert self.wants(text)
            self.expected = number + 1
            self.lines.append(text)
            self.seen.add(number, text)
        elif record["event"] == "dropped":
            self.gaps += record["lines"]
            if self.expected is not None:
                self.expected += record["lines"]


def ALL(_text: str) -> bool:  # noqa: N802 -- a constant
    return True


async def read(url: str, query: Mapping[str, str | int], checker: Checker, limit: int) -> None:
    """Read an answer, up to so many lines of it."""
    lines = 0
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream(
            "GET", f"{url}/process-log/{SLUG}", params={**query, "format": "ndjson"}
        ) as answer,
    ):
        if answer.status_code != 200:
            await answer.aread()
        assert answer.status_code == 200, answer.text
        with trio.CancelScope() as enough:
            async for line in answer.aiter_lines():
                if line.strip() and lines < limit:
                    checker.take(json.loads(line))
                    lines += 1
                if lines >= limit:
                    enough.cancel()  # Its generators end by the next read.


@attrs.define(eq=False)
class Soak:
    seen: Seen = attrs.field(factory=Seen)
    url: str = ""
    done: bool = False
    summary: str = ""
    random: random.Random = attrs.field(factory=lambda: random.Random(1))

    async def reader(self, kind: str) -> None:
        while not self.done:
            await trio.sleep(self.random.uniform(0.01, 0.3))
            url = self.url
            if not url:
                continue
            checker, query, limit = self.ask(kind)
            try:
                await read(url, query, checker, limit)
            except (httpx.HTTPError, OSError):
                continue  # The agent was killed.
            self.seen.reads[kind] += 1
            self.seen.told_gaps += checker.gaps

    def ask(self, kind: str) -> tuple[Checker, dict[str, str | int], int]:
        limit = self.random.randrange(1, 30_000)
        after = self.random.randrange(self.seen.last + 1)
        if kind == "after":
            return Checker(self.seen, ALL, after + 1), {"after": after}, limit
        if kind == "follow":
            return Checker(self.seen, ALL), {"tail": 10, "follow": 1}, limit
        if kind == "since":
            return Checker(self.seen, ALL), {"since": f"{self.random.randrange(60)}s"}, limit
        return (
            Checker(self.seen, lambda text: text.endswith("77")),
            {"grep": "77$", "tail": 500},
            limit,
        )


async def soak(directory: Path, lines: int, restarts: int, kills: int, readers: int) -> Soak:
    """Run until there are so many lines, then check them all."""
    it = Soak()
    # What a kill costs has to be written again, and the last life is cut short.
    each = max(lines // (restarts + kills), 100)
    script = _WRITER.format(lines=each, step=100)
    options = (
        f"--state-dir={directory}",
        "--log-bytes=1GiB",
        "--restart-base-delay=0.05",
        "--restart-cap-delay=0.05",
    )
    async with archive_server() as server, trio.open_nursery() as nursery:
        url = server.add("app", shell_app(f"exec {sys.executable} -c '{script}'"))
        for index in range(readers):
            nursery.start_soon(it.reader, ("after", "since", "grep", "follow")[index % 4])
        exits = life = 0
        while True:
            async with running_agent(*options, limit=LIMIT) as agent:
                if not life:
                    await agent.create(url, "soak")
                it.url = agent.url
                goal = lines * (life + 1) // (kills + 1)
                await wait_lines(agent, goal, is_last=life == kills, restarts=restarts - exits)
                exits += sum(event["event"] == "exit" for event in agent.events)
                if life == kills:
                    it.done = True
                    nursery.cancel_scope.deadline = trio.current_time() + 60
                    await agent.client.post(f"/delete-process/{SLUG}", json={})
                    checker = Checker(it.seen, ALL, 1)
                    await read(agent.url, {"after": 0}, checker, sys.maxsize)
                    await check_text(agent, checker)
                    break
                agent.process.kill()
                it.url = ""
                await agent.process.wait()
            life += 1
    it.summary = (
        f"{it.seen.last} numbers, {it.seen.last - checker.gaps} lines kept, {checker.gaps} told as "
        f"lost, {exits} ends of the child, {kills} kills, readers: {dict(it.seen.reads)}, "
        f"{it.seen.told_gaps} lines told as lost to them"
    )
    return it


async def wait_lines(agent: RunningAgent, goal: int, *, is_last: bool, restarts: int) -> None:
    """Wait until the process has written so many lines."""
    while True:
        answer = await agent.client.get(
            f"/process-log/{SLUG}", params={"tail": 1, "format": "ndjson"}
        )
        records = [json.loads(line) for line in answer.text.splitlines()]
        last = max((record["seq"] for record in records if "seq" in record), default=0)
        exits = sum(event["event"] == "exit" for event in agent.events)
        if last >= goal and (not is_last or exits >= restarts):
            return
        await trio.sleep(0.05)


async def check_text(agent: RunningAgent, whole: Checker) -> None:
    """Bare text has the same lines, and its headers the same gaps; lines of a life go on."""
    answer = await agent.client.get(f"/process-log/{SLUG}")
    found = answer.text.splitlines()
    assert found == whole.lines
    assert int(answer.headers["Lines-Lost"]) + int(answer.headers["Lines-Missed"]) == whole.gaps
    before: Sequence[str] = ("", "")
    for line in found:
        life, number = line.split()
        if life == before[0]:
            assert int(number) == int(before[1]) + 1
        before = (life, number)


def run(lines: int, restarts: int, kills: int, readers: int) -> None:
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    begun = time.monotonic()
    try:
        it = trio.run(soak, directory / "state", lines, restarts, kills, readers)
        size = sum(
            path.stat().st_size
            for path in (directory / "state" / "log").rglob("*")
            if path.is_file()
        )
        sys.stdout.write(
            f"{it.summary}\n{size} bytes on the disk, {time.monotonic() - begun:.1f} s\n"
        )
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        run(*map(int, sys.argv[1:5]))
