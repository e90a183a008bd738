"""Forks an agent that spawns as fast as it can for each line that it reads; tells its pid."""

import os
import sys

import trio

from smartmob_agent.child.guarded import open_spawner
from tests.e2e.holder import Holder, tell


async def pour() -> None:
    async with open_spawner() as spawner, trio.open_nursery() as nursery:
        await Holder(spawner, nursery).pour(script="setsid sleep 1000 & exec sleep 1000")


if __name__ == "__main__":
    tell("ready")
    for _ in sys.stdin:
        if not (holder := os.fork()):
            trio.run(pour)
        tell(holder)
        os.waitpid(holder, 0)
