"""A small agent for tests: a real spawner that does what it reads from its standard input.

Each request is a line of JSON, answered by one; the first line, unasked, tells that it serves.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import trio
import trio._core._thread_cache as thread_cache

from smartmob_agent.child import handle, zygote_client
from smartmob_agent.child.seam import Child, Command, Exit
from smartmob_agent.child.spawner import GuardedSpawner, open_spawner
from smartmob_agent.errors import AgentError


def shell(script: str, *args: str) -> Command:
    return Command(
        argv=("/bin/sh", "-c", script, *args), env={"PATH": os.environ["PATH"]}, cwd=Path("/")
    )


async def read_lines(stream: trio.abc.ReceiveStream, count: int) -> list[str]:
    data = b""
    while data.count(b"\n") < count and (more := await stream.receive_some()):
        data += more
    return data.decode().splitlines()


def tell(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Holder:
    """Holds the children by the numbers in which they were asked for."""

    def __init__(self, spawner: GuardedSpawner, nursery: trio.Nursery) -> None:
        self._spawner = spawner
        self._nursery = nursery
        self._children: list[Child] = []

    async def answer(self, request: dict[str, Any]) -> object:
        arguments = dict(request)
        return await getattr(self, arguments.pop("do"))(**arguments)

    async def spawn(self, *, script: str, lines: int = 0) -> object:
        """Start a shell script; returns its pid and the first lines that it writes."""
        child = await self._spawner.spawn(shell(script))
        self._children.append(child)
        return {"pid": child.pid, "lines": await read_lines(child.stdout, lines)}

    async def start(self, *, argv: list[str], lines: int = 0) -> object:
        """Start a program; returns the first lines that it writes."""
        child = await self._spawner.spawn(Command(argv=tuple(argv), env={}, cwd=Path("/")))
        self._children.append(child)
        return await read_lines(child.stdout, lines)

    async def wait(self, *, child: int) -> object:
        """Wait for the end of a child and of its tree."""
        status = await self._children[child].wait()
        await self._children[child].wait_empty()
        return {"code": status.code, "signal": status.signal}

    async def kill(self, *, child: int) -> object:
        """Kill a tree, return what is stuck when it is settled."""
        self._children[child].kill()
        await self._children[child].wait_settled()
        return self._children[child].stuck

    async def delete(self, *, child: int, patience: float = 10.0) -> object:
        """As the agent deletes a process: SIGTERM, patience, SIGKILL."""
        self._children[child].terminate()
        with trio.move_on_after(patience):
            await self._children[child].wait_empty()
        self._children[child].kill()
        await self._children[child].wait_empty()
        return None

    async def cycle(self, *, script: str, count: int) -> object:
        """Start and end so many children; returns how they ended, all that differ."""
        found: set[Exit] = set()
        for _ in range(count):
            child = await self._spawner.spawn(shell(script))
            found.add(await child.wait())
            await child.wait_empty()
            await child._shim.gone.wait()  # of no interest but to those who count zombies
            await child.stdout.aclose()
            await child.stderr.aclose()
        return [str(status) for status in found]

    async def pour(self, *, script: str) -> object:
        """Spawn as fast as may be, for ever."""

        async def pour_one_after_the_other() -> None:
            while True:
                child = await self._spawner.spawn(shell(script))
                self._children.append(child)
                if random.random() < 0.2:
                    random.choice(self._children).kill()

        for _ in range(3):
            self._nursery.start_soon(pour_one_after_the_other)
        return None

    async def start_naively(self) -> object:
        """Start what shall die with its parent as trio does it, in a thread; return its end."""
        argv = ["setpriv", "--pdeathsig", "KILL", "sleep", "1000"]
        process = await trio.lowlevel.open_process(argv)
        return await process.wait()

    async def containment(self) -> object:
        return self._spawner.containment


async def main(options: dict[str, Any]) -> None:
    zygote_client._GUARD = Path(options.pop("guard", zygote_client._GUARD))
    handle._SHIM_TIMEOUT = options.pop("shim_timeout", handle._SHIM_TIMEOUT)
    thread_cache.IDLE_TIMEOUT = options.pop("thread_timeout", thread_cache.IDLE_TIMEOUT)
    lines = trio.lowlevel.FdStream(os.dup(0))
    if "cgroup" in options:
        options["cgroup"] = Path(options["cgroup"])
    async with open_spawner(**options) as spawner, trio.open_nursery() as nursery:
        holder = Holder(spawner, nursery)
        tell({"containment": spawner.containment})
        rest = b""
        async for data in lines:
            *requests, rest = (rest + data).split(b"\n")
            for request in requests:
                try:
                    tell(await holder.answer(json.loads(request)))
                except AgentError as exc:
                    tell({"error": str(exc)})
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
