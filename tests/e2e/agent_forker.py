"""Forks an agent for each line that it reads, and tells its pid and URL once it serves.

To import what an agent needs takes longer than all else that it does before it is killed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import trio
import trio._core._thread_cache as thread_cache

from smartmob_agent import AgentConfig, serve


def tell(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def be_agent(work_dir: Path) -> None:
    config = AgentConfig(port=0, work_dir=work_dir, max_start_rate=0)
    async with trio.open_nursery() as nursery:
        agent = await nursery.start(serve, config)
        tell({"pid": os.getpid(), "url": agent.url, "work_dir": str(work_dir)})


if __name__ == "__main__":
    thread_cache.IDLE_TIMEOUT = 0.1  # type: ignore[assignment]  # it may be less than a second, so that threads are soon as few as they were
    with tempfile.TemporaryDirectory() as directory:
        tell("ready")
        for _ in sys.stdin:
            if not (pid := os.fork()):
                trio.run(be_agent, Path(directory))
            os.waitpid(pid, 0)
