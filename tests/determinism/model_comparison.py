"""Plays a program of steps on a supervisor and on the model, and compares the two."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator

import attrs
import pytest
import trio

from smartmob_agent.child.seam import Exit
from smartmob_agent.errors import ProcessNotFoundError, SlugInUseError, StoppingError
from smartmob_agent.process.events import TransitionEvent
from smartmob_agent.process.policies import RestartPolicy
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.states import State, WrongStateError
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.testing import FakeStore
from tests.determinism.controlled_world import (
    PuppetBuilder,
    PuppetFetcher,
    PuppetSpawner,
    PuppetWorkspaces,
    Questions,
)
from tests.determinism.memory_agent import check_nothing_left
from tests.determinism.model import POLICIES, Answer, Model, ModelProcess
from tests.process.world import EPOCH, World, lines_until_end, make_spec, settle

Step = Callable[["Stagehand"], Awaitable[None]]
Pair = tuple[State | None, State]
CRASH = Exit(code=1)


@attrs.define(eq=False)
class Stagehand:
    """A supervisor in a world of puppets, and the model of it.

    taken: all transitions that there were.
    """

    world: World
    questions: Questions
    supervisor: Supervisor
    nursery: trio.Nursery
    model: Model = attrs.field(factory=Model)
    taken: set[Pair] = attrs.field(factory=set)
    followed: dict[str, list[str]] = attrs.field(factory=dict)
    deletes: int = 0
    known: dict[str, ManagedProcess] = attrs.field(factory=dict)

    @property
    def spawner(self) -> PuppetSpawner:
        assert isinstance(self.world.spawner, PuppetSpawner)
        return self.world.spawner

    def note(self, event: TransitionEvent) -> None:
        step = event.transition
        if step.previous is not step.state or step.state is State.BACKOFF:  # else of readiness
            self.taken.add((step.previous, step.state))

    async def create(self, slug: str) -> None:
        policy = POLICIES.get(slug, RestartPolicy.ALWAYS)
        url = f"http://{slug}.0/app.zip"
        env = {"SLUG": f"{slug}.0"}  # So that a build says whose it is.
        spec = make_spec(app=slug, node="0", source_url=url, restart=policy, env=env)
        refusal = StoppingError if self.model.stopping else SlugInUseError
        if self.model.create(slug):
            self.known[slug] = self.supervisor.create(spec)
        else:
            with pytest.raises(refusal):
                self.supervisor.create(spec)

    async def answer(self, slug: str, answer: Answer) -> None:
        process = self.model.processes[slug]
        assert process.waiting is not None
        self.questions.answer(f"{slug}.0", process.waiting, answer)
        process.answer(answer, self.model.now)

    async def exit(self, slug: str, *, how: Exit = CRASH, restart: bool = False) -> None:
        child = self.spawner.child_of(f"{slug}.0")
        if how.signal is None:
            child.exit(how.code or 0)
        else:
            child.die(signal.Signals(how.signal))
        self.model.processes[slug].end_child(how, self.model.now)
        if restart:
            await self.restart(slug)

    async def write(self, slug: str, line: str) -> None:
        self.spawner.child_of(f"{slug}.0").write(line.encode() + b"\n")
        lines = self.model.processes[slug].lines
        if lines is not None:
            lines.append(line)

    async def follow(self, slug: str) -> None:
        async def read(process: ManagedProcess) -> None:
            lines = await lines_until_end(process)
            self.followed[slug] = [line.decode() for line in lines]

        self.model.processes[slug].lines = []
        self.nursery.start_soon(read, self.supervisor.get(f"{slug}.0"))

    async def delete(self, slug: str) -> None:
        async def wait() -> None:
            await self.supervisor.delete(f"{slug}.0")
            self.deletes -= 1

        if slug not in self.model.processes:
            with pytest.raises(ProcessNotFoundError):
                await self.supervisor.delete(f"{slug}.0")
            return
        self.deletes += 1
        self.nursery.start_soon(wait)
        self.model.delete(slug)

    async def restart(self, slug: str) -> None:
        if self.model.processes[slug].restart(self.model.now):
            self.known[slug].restart()
        else:
            with pytest.raises(WrongStateError):
                self.known[slug].restart()

    async def elapse(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.model.elapse(seconds)

    async def close(self) -> None:
        self.supervisor.close()
        self.model.close(kill=False)

    async def kill(self) -> None:
        self.supervisor.kill()
        self.model.close(kill=True)

    async def live_again(self) -> None:
        """End the agent, and begin another one with what it has kept."""
        await self.kill()
        await self.compare()
        assert list(self.supervisor) == []
        self.supervisor = await self.nursery.start(live, self.world)
        self.supervisor.events.observers.append(self.note)
        self.model.live_again()
        self.known = {process.spec.app: process for process in self.supervisor}

    async def compare(self) -> None:
        """Let happen what needs no time, and compare all that can be seen."""
        await settle()
        for gone in self.model.forget_gone():
            process = self.known[gone.slug]
            assert (process.state, process.pid) == (State.GONE, None)
            assert (process.console.end, process.exit) == (gone.end, gone.exit)
            if gone.lines is not None:
                assert self.followed.pop(gone.slug) == gone.lines
        seen = [look(process) for process in self.supervisor]
        assert seen == [expect(process) for process in self.model.processes.values()]
        children = sum(process.has_child for process in self.model.processes.values())
        assert len(self.spawner.living) == children
        asked = {(one.slug + ".0", one.waiting) for one in self.model.processes.values()}
        assert set(self.questions.asked) == {key for key in asked if key[1]}
        if all(one.state is not State.STOPPING for one in self.model.processes.values()):
            assert self.deletes == 0


def look(process: ManagedProcess) -> tuple[object, ...]:
    """What can be seen of a process."""
    shown = process.next_start_at and (process.next_start_at - EPOCH).total_seconds()
    has_child = process.pid is not None
    seen = process.slug, process.state, process.starts, has_child, shown, process.exit
    return *seen, process.ready


def expect(process: ModelProcess) -> tuple[object, ...]:
    """The same of one of the model."""
    shown = process.shown if process.state is State.BACKOFF else None
    slug = f"{process.slug}.0"
    seen = slug, process.state, process.starts, process.has_child, shown, process.exit
    return *seen, process.ready


async def live(
    world: World, *, task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED
) -> None:
    """One life of an agent, which ends with its supervisor's."""
    assert world.state is not None
    async with world.open() as supervisor:
        supervisor.restore((await world.state.read_all()).documents)
        task_status.started(supervisor)
        cursor = supervisor.events.subscribe()
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                await cursor.receive()


async def play(steps: Iterator[Step] | list[Step]) -> set[Pair]:
    """Play a program, and end it; return the transitions that it took."""
    questions = Questions()
    world = World(
        spawner=PuppetSpawner(questions),
        fetcher=PuppetFetcher(questions),
        workspaces=PuppetWorkspaces(questions),
        builders=[PuppetBuilder()],
        state=FakeStore(),
    )
    async with trio.open_nursery() as nursery:
        supervisor: Supervisor = await nursery.start(live, world)
        hand = Stagehand(world, questions, supervisor, nursery)
        supervisor.events.observers.append(hand.note)
        for step in steps:
            await step(hand)
            await hand.compare()
        await hand.kill()
        await hand.compare()
    assert (list(hand.supervisor), hand.model.processes) == ([], {})
    check_nothing_left(world)
    return hand.taken
