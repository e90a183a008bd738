"""Each call of the client, cancelled wherever that can happen: nothing is left, nothing is lost."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.client import Client, open_client
from smartmob_agent.testing import Trial, cancel_at_every_checkpoint
from tests.client.agent import CREATE, open_world
from tests.client.memory import MemoryAgent, client_of

SLUG = "hello.web.0"
LINES = [f"line {number}" for number in range(1, 8)]
MOST_STEPS = 1000


async def read_text(client: Client, keep: Callable[[str], object]) -> None:
    async with client.log(SLUG) as log:
        async for part in log:
            keep(part.data.decode())


async def read_lines(client: Client, keep: Callable[[str], object]) -> None:
    async with client.attach(SLUG, tail=7) as lines:
        async for line in lines:
            keep(f"{line}\n")


@pytest.mark.parametrize("read", [read_text, read_lines])
def test_a_reader_that_is_cancelled_leaves_no_connection(
    read: Callable[[Client, Callable[[str], object]], Awaitable[None]],
) -> None:
    """Not even while its client lives on."""

    async def scenario(trial: Trial) -> None:
        agent = MemoryAgent(LINES, cuts=[3, 0, 2])
        found: list[str] = []
        async with client_of(agent) as client:
            with trial.subject():
                await read(client, found.append)
            await trio.testing.wait_all_tasks_blocked()
            assert agent.connections == 0
            text = "".join(found)
            assert "".join(f"{line}\n" for line in LINES).startswith(text)
            assert trial.cancelled or text.count("\n") == len(LINES)

    assert cancel_at_every_checkpoint(scenario) > 40


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- names alone


def test_what_a_reader_did_not_get_the_next_one_gets() -> None:
    async def scenario(trial: Trial) -> None:
        agent = MemoryAgent(LINES, cuts=[3])
        found: list[str] = []
        async with client_of(agent) as client, client.attach(SLUG, tail=7) as lines:
            with trial.subject():
                async for line in lines:
                    found.append(str(line))  # noqa: PERF401 -- a list that is cancelled is lost
            found += [str(line) async for line in lines]
        assert found == LINES

    assert cancel_at_every_checkpoint(scenario) > 20


class _Steps(trio.abc.Instrument):
    """Cancels a scope behind so many steps of any task."""

    def __init__(self, left: int, scope: trio.CancelScope) -> None:
        self._left = left
        self._scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


@contextmanager
def _behind(steps: int, scope: trio.CancelScope) -> Iterator[None]:
    instrument = _Steps(steps, scope)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


Call = Callable[[Client], Awaitable[object]]


async def ask(client: Client) -> None:
    await client.list_processes()


async def restart(client: Client) -> None:
    await client.restart(SLUG, wait=True)


async def wait(client: Client) -> None:
    await client.wait_state(SLUG, "running")


async def send(client: Client) -> None:
    await client.upload(Path(__file__))


async def follow(client: Client) -> None:
    async with client.log(SLUG, follow=True) as log:
        await log.receive()


async def attach(client: Client) -> None:
    async with client.attach(SLUG, tail=1) as lines:
        await lines.receive()


async def cancel_everywhere(call: Call, client: Client) -> int:
    """Call again and again, each time cancelled one step later, until it is not any more."""
    for steps in range(1, MOST_STEPS):
        with trio.CancelScope() as scope, _behind(steps, scope):
            await call(client)
        if not scope.cancelled_caught:
            return steps
    raise AssertionError


@pytest.mark.slow
async def test_a_call_that_is_cancelled_leaves_no_descriptor() -> None:
    """And the client goes on."""
    before = descriptors()
    async with open_world() as world, open_client(world.url) as client:
        await client.create(**CREATE)
        child = await world.spawner.next_child()
        child.write(b"line\n")
        for call in (ask, wait, follow, attach, send, restart):
            assert await cancel_everywhere(call, client) > 3, call
        await client.status(SLUG)
    assert descriptors() == before
