"""Tests of `job.py`: no network, no processes, no waiting.

The fixtures `agent`, `fake_spawner` and `fake_fetcher` come with smartmob-agent; `conftest.py` asks
for them.
"""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing
from job import JobFailedError, run_job

from smartmob_agent import Agent, AgentConfig, DownloadError, ProcessSpec, serve
from smartmob_agent.testing import (
    FakeFetcher,
    FakeNetwork,
    FakeSpawner,
    FakeWorkspaces,
    Trial,
    cancel_at_every_checkpoint,
    explore_schedules,
)

Clock = trio.testing.MockClock

SPEC = ProcessSpec(app="job", node="1", process_type="web", source_url="http://example.net/job.zip")


async def play(spawner: FakeSpawner, *codes: int) -> None:
    """Let one child after the other run for a minute and end with a code."""
    for code in codes:
        child = await spawner.next_child()
        await trio.sleep(60)
        child.exit(code)


async def test_a_job_that_succeeds_runs_once(
    agent: Agent, fake_spawner: FakeSpawner, autojump_clock: Clock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, fake_spawner, 0)
        assert await run_job(agent, SPEC) == 1
    assert trio.current_time() == 60
    assert (fake_spawner.living, list(agent.supervisor)) == ([], [])


async def test_a_job_that_fails_is_tried_again(
    agent: Agent, fake_spawner: FakeSpawner, autojump_clock: Clock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, fake_spawner, 1, 0)
        assert await run_job(agent, SPEC) == 2
    assert trio.current_time() == 120


async def test_a_job_that_fails_again_and_again_is_given_up(
    agent: Agent, fake_spawner: FakeSpawner, autojump_clock: Clock
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, fake_spawner, 1, 1)
        with pytest.raises(JobFailedError, match=r"ended with exit code 1 after 60\.0 s"):
            await run_job(agent, SPEC, tries=2)
    assert list(agent.supervisor) == []


async def test_a_job_that_cannot_be_downloaded_is_given_up_at_once(
    agent: Agent, fake_fetcher: FakeFetcher, autojump_clock: Clock
) -> None:
    fake_fetcher.errors.append(DownloadError("404 Not Found"))
    with pytest.raises(JobFailedError, match="404 Not Found"):
        await run_job(agent, SPEC)
    assert trio.current_time() == 0


async def cancelled_job(trial: Trial) -> None:
    """A scenario: whenever the job is cancelled, nothing of it is left."""
    spawner = FakeSpawner(obey=False)
    run = partial(
        serve,
        AgentConfig(port=0),
        spawner=spawner,
        fetcher=FakeFetcher(),
        workspaces=FakeWorkspaces(),
        network=FakeNetwork(),
    )
    async with trio.open_nursery() as nursery:
        agent: Agent = await nursery.start(run)
        nursery.start_soon(play, spawner, 1, 0)
        with trial.subject():
            await run_job(agent, SPEC)
        assert (spawner.living, list(agent.supervisor)) == ([], [])
        agent.stop()
        nursery.cancel_scope.cancel()


def test_a_job_can_be_cancelled_at_every_checkpoint() -> None:
    cancel_at_every_checkpoint(cancelled_job)


def test_the_order_of_tasks_does_not_matter() -> None:
    explore_schedules(cancelled_job, orders=50)
