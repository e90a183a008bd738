"""A thousand rounds of whatever clients do: the agent is afterwards what it was before.

The model of tests/determinism says what is to be expected; here the command, its children, files
and sockets are real, and the kernel counts what is left.  A round is a create, a delete, a crash,
a restart, a signal, an attach or a detach, or something that is refused; the seed says which.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.determinism.schedule_range import FIRST_SEED
from tests.e2e.agent import archive_server
from tests.e2e.counts import Counts, Traces, counted_agent, memory
from tests.e2e.model_clients import Game, sources

WARM_UP, ROUNDS = 200, 1000
LEAK_BYTES = 8 * 1024
"""Of memory, for each round: what the allocator does by itself is less."""


async def play(game: Game, counts: Counts, idle: int, rounds: int, *, seed: int) -> None:
    """Return when the agent has nothing to do any more, and as many tasks as before."""
    async with game.connect():
        await game.play(rounds, seed=seed)
        counts.forget()  # With connections that are open it is not idle, so what comes is new.
    await counts.wait(idle)


@pytest.mark.slow
async def test_after_a_thousand_rounds_the_agent_is_what_it_was(tmp_path: Path) -> None:
    print(f"SMARTMOB_FIRST_SEED={FIRST_SEED} does the same again")  # noqa: T201  # for who debugs
    async with archive_server() as server, counted_agent(tmp_path) as (agent, counts):
        counts.forget()
        assert (await agent.client.get("/health", headers={"Connection": "close"})).is_success
        idle = await counts.wait()
        with sources(server) as urls:
            game = Game(agent, urls, server.bodies["/good"])
            await play(game, counts, idle, WARM_UP, seed=-1)
            pid = agent.process.pid
            before, resident = await Traces.of(pid, tmp_path), memory(agent)
            objects = await counts.objects(pid)
            await play(game, counts, idle, ROUNDS, seed=FIRST_SEED)
        assert await Traces.of(pid, tmp_path) == before
        assert await counts.objects(pid) == objects
        assert memory(agent) - resident < LEAK_BYTES * ROUNDS
        assert (await agent.client.get("/list-processes")).json() == {"processes": []}
