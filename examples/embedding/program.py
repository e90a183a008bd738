"""A program that runs an agent in its own nursery: python program.py ARCHIVE-URL"""

from __future__ import annotations

import sys

import trio

import smartmob_agent


async def read_lines(process: smartmob_agent.ManagedProcess, count: int) -> None:
    """Print lines as they come, until there were `count`."""
    cursor = process.console.subscribe()
    while count > 0:
        item = await cursor.receive()
        if isinstance(item, smartmob_agent.Batch):
            for line in item.lines[:count]:
                print(line.decode())
            count -= len(item.lines)


async def main(source_url: str) -> None:
    """Run the type `worker` of an app until it has written three lines."""
    config = smartmob_agent.AgentConfig(port=0, stop_timeout=5.0)
    async with trio.open_nursery() as nursery:
        agent: smartmob_agent.Agent = await nursery.start(smartmob_agent.serve, config)
        print(f"serving {agent.url}")
        process = agent.supervisor.create(
            smartmob_agent.ProcessSpec(
                app="hello", node="worker.0", process_type="worker", source_url=source_url
            )
        )
        await read_lines(process, 3)
        await agent.supervisor.delete(process.slug)
        print(f"{process.slug} is {process.state}")
        agent.stop()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
