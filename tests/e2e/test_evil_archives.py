"""The command and archives that mean no good, over HTTP."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio

from tests.e2e.agent import (
    LIMIT,
    ArchiveServer,
    RunningAgent,
    archive_server,
    running_agent,
    shell_app,
)
from tests.source.archive.evil_archives import EVIL_ARCHIVES, LIMITS, OUTSIDE, EvilArchive

OPTIONS = (
    f"--unpacked-bytes={LIMITS.unpacked_bytes}",
    f"--unpacked-members={LIMITS.members}",
    f"--path-bytes={LIMITS.path_bytes}",
    f"--path-depth={LIMITS.path_depth}",
)
MEMORY_BYTES = 96 * 1024 * 1024


def peak_bytes(agent: RunningAgent) -> int:
    """The most memory that the agent has ever had."""
    status = Path(f"/proc/{agent.process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]  # it is there


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def meet(
    evil: EvilArchive, slug: str, agent: RunningAgent, archives: ArchiveServer, turn: trio.Semaphore
) -> None:
    """Create a process of an archive, see how it ends, and delete it."""
    async with turn:
        app = slug.removesuffix(".web.0")
        url = archives.add(app, await trio.to_thread.run_sync(evil.make))
        await agent.create(url, app)
        event = await agent.wait_event(event="state", slug=slug, state=evil.state)
        assert event["error"].startswith(evil.text)
        assert (await agent.status(slug))["error"] == event["error"]
        await agent.delete(slug)
        del archives.bodies[f"/{app}"]


@pytest.mark.slow
async def test_no_evil_archive_does_an_agent_any_harm(tmp_path: Path) -> None:
    """Many at once: each process ends as it should, and nothing else is left of it."""
    work, cache = tmp_path / "work", tmp_path / "cache"
    options = (*OPTIONS, f"--work-dir={work}", f"--cache-dir={cache}")
    async with archive_server() as archives, running_agent(*options) as agent:
        good = archives.add("good", shell_app("echo up; exec sleep 1000"))
        await agent.create(good, "good")
        await agent.wait_state("good.web.0", "running")
        [own] = work.iterdir()
        before, peak = entries(own), peak_bytes(agent)
        turn = trio.Semaphore(8)
        with trio.fail_after(LIMIT):
            async with trio.open_nursery() as nursery:
                for number, evil in enumerate(EVIL_ARCHIVES):
                    slug = f"evil-{number}.web.0"
                    nursery.start_soon(meet, evil, slug, agent, archives, turn)
        assert peak_bytes(agent) - peak < MEMORY_BYTES
        assert entries(own) == before
        assert (await agent.status("good.web.0"))["restarts"] == 0
    assert not await trio.Path(OUTSIDE).exists()
    assert entries(work) == []
    assert entries(tmp_path) == ["cache", "work"]
