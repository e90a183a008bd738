"""Deletes, and deaths of the agent, while a process is on its way to a child."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import signal
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

import smartmob_agent
from smartmob_agent import Agent, AgentConfig, ProcessSpec
from smartmob_agent.config.settings import EgressRules
from smartmob_agent.source.download.dialer import Dialer, connect
from smartmob_agent.source.download.egress import Address, EgressFilter
from smartmob_agent.source.download.http_fetcher import make_fetcher
from smartmob_agent.testing import FakeSpawner
from smartmob_agent.testing.scheduling import all_tasks
from tests.e2e.agent import LIMIT, archive_server, running_agent, shell_app
from tests.e2e.download_phases import open_phases

KEPT = "downloads"
"""Archives that are complete; the next process may want them."""


def traces(directory: Path) -> dict[str, Counter[str]]:
    """What there is of this program: descriptors, tasks and files but archives."""
    descriptors = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the directory itself
            descriptors.append(str(link.readlink()))
    return {
        "descriptors": Counter(descriptors),
        "tasks": Counter(task.name for task in all_tasks()),
        "files": Counter(str(path) for path in directory.rglob("*") if path.parent.name != KEPT),
    }


async def wait_threads_idle() -> None:
    """Wait until no thread works for a task: one that lists a directory has it open."""
    await trio.testing.wait_all_tasks_blocked()
    while any(map(works_in_a_thread, all_tasks())):
        await trio.testing.wait_all_tasks_blocked()


def works_in_a_thread(task: trio.lowlevel.Task) -> bool:
    """Whether a thread works for a task, as its stack tells."""
    code = trio.to_thread.run_sync.__code__
    return any(frame.f_code is code for frame, _ in task.iter_await_frames())


def changes(directory: Path, before: dict[str, Counter[str]]) -> dict[tuple[str, str], int]:
    """What there is more of now, or less: kind and name → how much."""
    now = traces(directory)
    for kind in now:
        now[kind].subtract(before[kind])
    return {(kind, name): n for kind in now for name, n in now[kind].items() if n}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["connect", "handshake", "headers", "body", "unpack", "prepare"])
async def test_a_delete_leaves_nothing_whatever_the_process_waits_for(
    name: str, tmp_path: Path
) -> None:
    """No file, no task and no descriptor."""
    connecting = trio.Event()

    async def connect_and_tell(address: Address, port: int) -> trio.abc.Stream:
        connecting.set()
        return await connect(address, port)

    config = AgentConfig(port=0, work_dir=tmp_path)
    dialer = Dialer(policy=EgressFilter.of(EgressRules()), connect=connect_and_tell)
    fetcher = make_fetcher(config.source, dial=dialer.dial)
    serve = partial(
        smartmob_agent.serve, config, fetcher=fetcher, spawner=FakeSpawner(delay=LIMIT * 10)
    )
    with trio.fail_after(LIMIT):
        async with open_phases() as phases, trio.open_nursery() as nursery:
            agent: Agent = await nursery.start(serve)
            phase = phases[name]
            await wait_threads_idle()
            gc.collect()  # What other tests have left may have descriptors.
            before = traces(tmp_path)
            spec = ProcessSpec(app="a", node="b", process_type="web", source_url=phase.url)
            process = agent.supervisor.create(spec)
            await process.wait_state(phase.state)
            await (connecting if name == "connect" else phase.reached).wait()
            await trio.testing.wait_all_tasks_blocked()
            assert process.state is phase.state
            assert changes(tmp_path, before)
            await agent.supervisor.delete(spec.slug)
            if name != "connect":
                await phase.closed.wait()
            await wait_threads_idle()
            assert changes(tmp_path, before) == {}
            agent.stop()
            nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_an_agent_that_is_killed_is_followed_by_one_that_works(tmp_path: Path) -> None:
    """Whatever the processes waited for; what was left is gone, and what is kept is whole."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    options = (f"--work-dir={work}", f"--cache-dir={cache}")
    app = shell_app("exec sleep 1000")
    with trio.fail_after(LIMIT):
        async with open_phases() as phases, archive_server() as server:
            good = {
                "source_url": server.add("good", app),
                "source_sha256": hashlib.sha256(app).hexdigest(),
            }
            async with running_agent(*options) as agent:
                await agent.create(**good)
                await agent.wait_state("app.web.0", "running")
                for name, phase in phases.items():
                    await agent.create(phase.url, name)
                for name, phase in phases.items():
                    await agent.wait_event(
                        event="state", slug=f"{name}.web.0", state=phase.state.value
                    )
                    if name != "connect":
                        await phase.reached.wait()
                assert (await agent.status("unpack.web.0"))["state"] == "unpacking"
                assert await agent.stop(signal.SIGKILL) == -signal.SIGKILL
            async with running_agent(*options) as agent:
                (lease,) = work.iterdir()
                assert list(lease.iterdir()) == []
                for path in (cache / KEPT).iterdir():
                    assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()
                await agent.create(**good)
                await agent.wait_state("app.web.0", "running")
                assert len(server.requests) == 1
                await agent.create(phases["prepare"].url, "prepare")
                await agent.wait_state("prepare.web.0", "running")
