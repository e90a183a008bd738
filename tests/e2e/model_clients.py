"""Clients who do at random what clients do, each with a model of its process at hand."""

from __future__ import annotations

import random
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import attrs
import httpx
import trio

from smartmob_agent.child.seam import Exit
from smartmob_agent.process.states import State
from tests.determinism.model import Answer, ModelProcess
from tests.e2e.agent import LIMIT, ArchiveServer, RunningAgent, read_to_end, tar_gz

__all__ = ["Game", "sources"]

APPS = {
    "good": {"Procfile": "web: echo line; exec sleep 1000\n"},
    "no-procfile": {"README": "nothing to run\n"},
    "broken": {"Procfile": "?\n"},
    "other": {"Procfile": "worker: exec sleep 1000\n"},
}
OUTCOMES = {
    "good": (Answer.GOOD, Answer.GOOD, Answer.GOOD),
    "upload": (Answer.GOOD, Answer.GOOD, Answer.GOOD),
    "nobody": (Answer.PASSING,),
    "missing": (Answer.NO_ARCHIVE,),
    "garbage": (Answer.NO_ARCHIVE,),
    "no-procfile": (Answer.GOOD, Answer.NO_PROCFILE),
    "broken": (Answer.GOOD, Answer.BROKEN_PROCFILE),
    "other": (Answer.GOOD, Answer.OTHER_TYPES),
}
PLAYERS = len(OUTCOMES)
KINDS = (*OUTCOMES, "good", "good", "good", "good")
TRYING = {State.BACKOFF.value, State.DOWNLOADING.value}


@contextmanager
def sources(server: ArchiveServer) -> Iterator[dict[str, str]]:
    """Kind → URL; `nobody` is of a port where nobody listens."""
    server.add("garbage", b"no archive at all" * 100)
    for name, files in APPS.items():
        server.add(name, tar_gz(files))
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        host, port = unheard.getsockname()
        urls = {kind: f"{server.url}/{kind}" for kind in OUTCOMES}
        yield {**urls, "nobody": f"http://{host}:{port}/"}


@attrs.define(eq=False)
class Game:
    """What players play with.

    sources: kind → URL.
    archive: a good one, for uploads.
    client: keeps its connections until all have played.
    """

    agent: RunningAgent
    sources: dict[str, str]
    archive: bytes
    client: httpx.AsyncClient = attrs.field(init=False)

    async def play(self, rounds: int, *, seed: int) -> None:
        """Let all players play at once; nothing but the agent's connections is left."""
        async with trio.open_nursery() as nursery:
            for number in range(PLAYERS):
                chance = random.Random(f"{seed}-{number}")
                player = Player(self, number, chance, nursery)
                nursery.start_soon(player.play, rounds // PLAYERS)

    def connect(self) -> httpx.AsyncClient:
        """Make the client; who closes it closes the connections."""
        base_url = self.agent.client.base_url
        self.client = httpx.AsyncClient(timeout=LIMIT, base_url=base_url)
        return self.client


@attrs.define(eq=False)
class Player:
    """A client with one process at a time, and the model of it.

    lives: how many processes it has had.
    consoles: those that it follows.
    """

    game: Game
    number: int
    chance: random.Random
    nursery: trio.Nursery
    process: ModelProcess | None = None
    lives: int = 0
    consoles: list[Console] = attrs.field(factory=list)

    async def play(self, rounds: int) -> None:
        for _ in range(rounds):
            if self.process is None:
                self.process = await self.create()
            else:
                await self.act(self.process)
            if self.process is not None:
                await self.compare(self.process)
        if self.process is not None:
            await self.delete(self.process)

    async def act(self, process: ModelProcess) -> None:
        acts = [
            *(self.delete, self.delete_twice, self.create_again, self.send_signal),
            *(self.attach, self.detach, self.restart),
        ]
        if process.has_child:  # There is more to do then.
            acts += [self.crash, self.crash, self.restart, self.attach]
        await self.chance.choice(acts)(process)

    @property
    def app(self) -> str:
        return f"app{self.number}-{self.lives}"

    async def create(self) -> ModelProcess:
        self.lives += 1
        process = ModelProcess(f"{self.app}.web.0")
        # At first each player has a kind of its own, so that all of them are there.
        kind = KINDS[self.number] if self.lives == 1 else self.chance.choice(KINDS)
        source = self.game.sources[kind]
        if kind == "upload":
            uploaded = await self.game.client.put("/upload-source", content=self.game.archive)
            source = uploaded.json()["source_url"]
        mark = len(self.game.agent.events)
        created = await self.post("/create-process", self.body(source))
        assert created.status_code == 201, created.text
        for answer in OUTCOMES[kind]:
            process.answer(answer, 0.0)
        await self.game.agent.wait_event(
            after=mark, event="state", slug=process.slug, state=process.state.value
        )
        return process

    async def compare(self, process: ModelProcess) -> None:
        """What is shown is what the model says."""
        status = await self.status(process)
        if process.state is State.BACKOFF:
            assert status["state"] in TRYING
        else:
            assert status["state"] == process.state.value, status
        assert status["restarts"] == max(process.starts - 1, 0), status
        assert (status["pid"] is not None) == process.has_child

    async def create_again(self, _: ModelProcess) -> None:
        refused = await self.post("/create-process", self.body("http://127.0.0.1/"))
        assert refused.status_code == 409

    async def attach(self, process: ModelProcess) -> None:
        console = Console()
        follow = partial(
            console.follow, self.game.agent, process.slug, has_output=process.starts > 0
        )
        await self.nursery.start(follow)
        self.consoles.append(console)

    async def detach(self, _: ModelProcess) -> None:
        if self.consoles:
            await self.consoles.pop(self.chance.randrange(len(self.consoles))).leave()

    async def send_signal(self, process: ModelProcess) -> None:
        """One that means nothing to the child."""
        await self.ask(process, "signal", {"signal": "WINCH"}, possible=process.has_child)

    async def crash(self, process: ModelProcess) -> None:
        """The next child comes at once, if it has not come already."""
        await self.ask(process, "signal", {"signal": "KILL"}, possible=True)
        await self.restart(process)

    async def restart(self, process: ModelProcess) -> None:
        if process.state is State.BACKOFF:
            return  # It tries all the time: whether it does so just now is not known.
        possible = process.restart(0.0)
        await self.ask(process, "restart", {}, query="?wait=1", possible=possible)
        if possible:
            process.end_child(Exit(signal=signal.SIGTERM), 0.0)
            process.answer(Answer.GOOD, 0.0)
            # A child that came by itself after a crash, for its delay was short, is ended again.
            process.starts += (await self.status(process))["restarts"] == process.starts

    async def delete(self, process: ModelProcess) -> None:
        answer = await self.post(f"/delete-process/{process.slug}", {})
        assert (answer.status_code, answer.json()) == (200, {})
        await self.check_gone(process)

    async def delete_twice(self, process: ModelProcess) -> None:
        """The second may come when nothing is left."""
        answers = []

        async def delete() -> None:
            answers.append((await self.post(f"/delete-process/{process.slug}", {})).status_code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            nursery.start_soon(delete)
        assert sorted(answers) in ([200, 200], [200, 404])
        await self.check_gone(process)

    async def check_gone(self, process: ModelProcess) -> None:
        """Nothing is left of it, and whoever followed it has been told."""
        answer = await self.game.client.get(f"/process-status/{process.slug}")
        assert answer.status_code == 404
        for console in self.consoles:
            await console.over.wait()
        assert {console.code for console in self.consoles} <= {1000}
        self.consoles.clear()
        self.process = None

    def body(self, source_url: str) -> dict[str, str]:
        return {"app": self.app, "node": "web.0", "process_type": "web", "source_url": source_url}

    async def post(self, path: str, document: object) -> httpx.Response:
        return await self.game.client.post(path, json=document)

    async def ask(
        self,
        process: ModelProcess,
        what: str,
        document: object,
        *,
        query: str = "",
        possible: bool,
    ) -> None:
        answer = await self.post(f"/{what}-process/{process.slug}{query}", document)
        assert answer.status_code == (200 if possible else 409), answer.text

    async def status(self, process: ModelProcess) -> dict[str, object]:
        answer = await self.game.client.get(f"/process-status/{process.slug}")
        document: dict[str, object] = answer.json()
        return document


@attrs.define(eq=False)
class Console:
    """One that is followed.

    code: what its socket was closed with.
    """

    code: int | None = None
    over: trio.Event = attrs.field(factory=trio.Event)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def follow(
        self,
        agent: RunningAgent,
        slug: str,
        *,
        has_output: bool,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Attach, and read to the end; it has started when there is output, if there is any."""
        with self._scope:
            async with agent.attach(slug, "?tail=1") as console:
                if has_output:
                    assert await console.get_message() == "line"
                task_status.started()
                _, self.code = await read_to_end(console)
        self.over.set()

    async def leave(self) -> None:
        """Go without a word."""
        self._scope.cancel()
        await self.over.wait()
