"""How long a delete takes while a process is on its way to a child.

    python bench/deletes.py              all phases, ten repeats: median and worst
    python bench/deletes.py --small      does it work?

The agent is the real command, asked over HTTP.  Each delete ends when nothing is left of the
process: no connection, no task and no file of what was unpacked so far.  The target is 100 ms.
What is called `prepare` takes so little time that the child runs already when it is deleted.

All is on 127.0.0.1.  Server, client and agent share the machine, and a busy one spoils the
figures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.e2e.agent import RunningAgent, running_agent
from tests.e2e.download_phases import Phase, open_phases

SETTLE = 0.2
"""Seconds until what has begun is in its midst."""


async def measure(agent: RunningAgent, phase: Phase, repeats: int) -> list[float]:
    """Milliseconds of each delete."""
    taken = []
    for number in range(repeats):
        phase.reached = trio.Event()
        await agent.create(phase.url, f"{phase.name}-{number}")
        slug = f"{phase.name}-{number}.web.0"
        await agent.wait_event(event="state", slug=slug, state=phase.state.value)
        if phase.name != "connect":
            await phase.reached.wait()
        await trio.sleep(SETTLE)
        start = time.perf_counter()
        await agent.delete(slug)
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


async def main(repeats: int) -> None:
    print(f"{'phase':12}{'median':>10}{'worst':>10}   ms")
    async with open_phases() as phases:
        for phase in phases.values():
            async with running_agent("--stop-timeout=0") as agent:  # no time for the last phase
                taken = await measure(agent, phase, repeats)
            print(f"{phase.name:12}{statistics.median(taken):10.1f}{max(taken):10.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="does it work?")
    trio.run(main, 1 if parser.parse_args().small else 10)
