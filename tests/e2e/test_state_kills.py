"""Agents that are killed at random moments while clients pour in creates, deletes and restarts.

The variable SMARTMOB_STATE_KILLS says how many; with ``pytest -s`` they tell how many requests of
each kind there were.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from smartmob_agent.state.check import check_state
from tests.determinism.schedule_range import FIRST_SEED
from tests.e2e.agent import RunningAgent, archive_server, running_agent, shell_app

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("SMARTMOB_STATE_KILLS", "6"))
CLIENTS, NAMES = 4, 4
MOST_ANSWERS = 60
"""Before a kill; each client changes its mind every few of them."""

APP = shell_app('exec 3> "$HELD"; exec sleep 1000')


@attrs.define
class Wanted:
    """What must be there, and what may be.

    kept: slug → `created_at`, of what was acknowledged.
    open_creates, open_deletes: the slugs of requests that were not answered.
    seen: how many requests of each kind were answered, and how many were not, and happened or not.
    """

    kept: dict[str, str] = attrs.field(factory=dict)
    open_creates: set[str] = attrs.field(factory=set)
    open_deletes: set[str] = attrs.field(factory=set)
    seen: Counter[str] = attrs.field(factory=Counter)

    def compare(self, found: dict[str, str]) -> None:
        """found: slug → `created_at`; what it says of open requests holds from now on."""
        for slug in self.open_creates:
            self.seen[f"create not answered, there: {slug in found}"] += 1
            if slug in found:
                self.kept[slug] = found[slug]
        for slug in self.open_deletes:
            self.seen[f"delete not answered, there: {slug in found}"] += 1
            if slug not in found:
                del self.kept[slug]
        self.open_creates.clear()
        self.open_deletes.clear()
        assert found == self.kept


@attrs.define(eq=False)
class Client:
    """Asks for one thing after the other, of processes that are its own."""

    agent: RunningAgent
    wanted: Wanted
    url: str
    held: Path
    apps: list[str]
    choose: random.Random
    answered: trio.Semaphore

    async def pour(self) -> None:
        with contextlib.suppress(OSError, trio.BrokenResourceError):  # The agent was killed.
            while True:
                await self.change(self.choose.choice(self.apps))
                self.answered.release()

    async def change(self, app: str) -> None:
        slug = f"{app}.web.0"
        if slug not in self.wanted.kept:
            await self.create(app, slug)
        elif self.choose.random() < 0.5:
            await self.delete(slug)
        else:
            await self.ask(f"/restart-process/{slug}", {}, 202)

    async def ask(self, path: str, body: dict[str, object], status: int) -> dict[str, str]:
        found, document = await post(self.agent.url, path, body)
        assert found == status, document
        self.wanted.seen[path.split("/")[1]] += 1
        return document

    async def create(self, app: str, slug: str) -> None:
        self.wanted.open_creates.add(slug)
        body: dict[str, object] = {
            "app": app,
            "node": "web.0",
            "process_type": "web",
            "source_url": self.url,
            "env": {"HELD": str(self.held)},
        }
        status = await self.ask("/create-process", body, 201)
        self.wanted.kept[slug] = status["created_at"]
        self.wanted.open_creates.remove(slug)

    async def delete(self, slug: str) -> None:
        self.wanted.open_deletes.add(slug)
        await self.ask(f"/delete-process/{slug}", {}, 200)
        del self.wanted.kept[slug]
        self.wanted.open_deletes.remove(slug)


async def post(url: str, path: str, body: dict[str, object]) -> tuple[int, dict[str, str]]:
    """Return status and document; raises `OSError` or `trio.BrokenResourceError` without them."""
    host, _, port = url.removeprefix("http://").partition(":")
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(head.encode() + content)
        answer = b"".join([chunk async for chunk in stream])
    head, _, text = answer.decode().partition("\r\n\r\n")
    if f"content-length: {len(text)}\r\n" not in f"{head.lower()}\r\n":
        raise trio.BrokenResourceError("the answer was cut")
    document: dict[str, str] = json.loads(text)
    return int(head.split()[1]), document


@asynccontextmanager
async def open_held(path: Path) -> AsyncIterator[int]:
    """A pipe with a name, which every child holds open: it ends when none is left."""
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield fd
    os.close(fd)


def has_ended(held: int) -> bool:
    try:
        return os.read(held, 1) == b""
    except BlockingIOError:
        return False


async def wait_no_child(held: int) -> None:
    while not has_ended(held):
        await trio.lowlevel.wait_readable(held)


async def created(agent: RunningAgent) -> dict[str, str]:
    """Slug → `created_at`; no slug is there twice."""
    processes = (await agent.client.get("/list-processes")).json()["processes"]
    found = {str(process["slug"]): str(process["created_at"]) for process in processes}
    assert len(found) == len(processes)
    return found


async def pour_and_kill(agent: RunningAgent, clients: list[Client], choose: random.Random) -> None:
    """Kill the agent after so many answers, and a moment, so that it is in the midst of others."""
    answered = clients[0].answered
    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.pour)
        for _ in range(choose.randrange(MOST_ANSWERS)):
            await answered.acquire()
        await trio.sleep(choose.random() * 0.02)  # The moment is what is drawn.
        agent.process.kill()
        await agent.process.wait()


async def test_whatever_was_acknowledged_is_there_after_each_kill(tmp_path: Path) -> None:
    """No more and no less, none of it twice, and no child of the agent that was killed."""
    print(f"SMARTMOB_FIRST_SEED={FIRST_SEED} draws the same again")  # noqa: T201  # for who debugs
    choose, wanted, state = random.Random(FIRST_SEED), Wanted(), tmp_path / "state"
    run = partial(running_agent, f"--state-dir={state}", "--max-start-rate=0")
    async with archive_server() as server, open_held(tmp_path / "held") as held:
        url = server.add("app", APP)
        for _ in range(KILLS):
            async with run() as agent:
                wanted.compare(await created(agent))
                answered = trio.Semaphore(0)
                clients = [
                    Client(
                        agent=agent,
                        wanted=wanted,
                        url=url,
                        held=tmp_path / "held",
                        apps=[f"c{number}n{name}" for name in range(NAMES)],
                        choose=random.Random(choose.random()),
                        answered=answered,
                    )
                    for number in range(CLIENTS)
                ]
                await pour_and_kill(agent, clients, choose)
            await wait_no_child(held)
            report = await trio.to_thread.run_sync(check_state, state)  # Its integrity, too.
            least = len(wanted.kept.keys() - wanted.open_deletes)
            most = len(wanted.kept.keys() | wanted.open_creates)
            assert least <= report.kinds.get("process", 0) <= most
        async with run() as agent:
            wanted.compare(await created(agent))
        await wait_no_child(held)
    print(f"{KILLS} kills: {dict(wanted.seen)}")  # noqa: T201  # for who runs many
