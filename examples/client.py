"""Run an app on an agent, print some lines: python client.py http://127.0.0.1:8080 SOURCE_URL"""

from __future__ import annotations

import sys

import trio

from smartmob_agent.client import ConflictError, open_client


async def main(agent_url: str, source_url: str) -> None:
    """Create a process, print some lines, and delete it."""
    async with open_client(agent_url) as client:
        try:
            process = await client.create(
                app="hello", node="worker.0", process_type="worker", source_url=source_url
            )
        except ConflictError as exc:
            sys.exit(f"{exc}")
        async with client.attach(process.slug, after=0) as console:
            async for line in console:
                print(line.seq, line)
                if line.seq == 3:
                    break
        await client.delete(process.slug)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
