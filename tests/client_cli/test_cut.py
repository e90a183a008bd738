"""`smartmob logs -f` through a proxy whose connections are cut: no line is lost or comes twice."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from smartmob_agent import AgentConfig, OutputLimits
from smartmob_agent.client import open_client
from tests.client.agent import CREATE, open_world
from tests.e2e.agent import LIMIT, archive_server, running_agent, tar_gz

pytestmark = [pytest.mark.slow, pytest.mark.measures_children]

LINES = 1_000_000
COUNTER = f"""
import os, time
for n in range(1, {LINES}, 1000):
    data = b"".join(b"line %07d\\n" % i for i in range(n, n + 1000))
    while data:
        data = data[os.write(1, data):]
time.sleep(1000)
"""
APP = tar_gz({"Procfile": "web: exec python3 -S count.py\n", "count.py": COUNTER})
EXPECTED = b"".join(b"line %07d\n" % number for number in range(1, LINES + 1))
CUT_BYTES = 2_000_000
"""Makes six or seven cuts."""


@attrs.define(eq=False)
class Proxy:
    """Passes on to an agent, and resets connections that brought much, anywhere in a line.

    cut_bytes: behind about so many bytes a connection is cut.
    cuts: how many.
    gate: what new connections wait for.
    """

    port: int
    cut_bytes: int
    url: str = ""
    cuts: int = 0
    gate: trio.Event = attrs.field(factory=trio.Event)
    latest: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    chance: random.Random = attrs.field(factory=lambda: random.Random(8))

    async def handle(self, client: trio.SocketStream) -> None:
        await self.gate.wait()
        agent = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with client, agent, trio.open_nursery() as nursery:
            self.latest = nursery.cancel_scope
            nursery.start_soon(self._pass, client, agent)
            await self._pass_some(agent, client)
            nursery.cancel_scope.cancel()

    def shut(self) -> None:
        """Cut the latest connection, and let no new one through for now."""
        self.gate = trio.Event()
        self.latest.cancel()

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            await target.send_all(data)

    async def _pass_some(self, agent: trio.SocketStream, client: trio.SocketStream) -> None:
        left = self.chance.randrange(self.cut_bytes // 2, self.cut_bytes * 3 // 2)
        async for data in agent:
            await client.send_all(data[:left])
            left -= len(data)
            if left < 0:
                self.cuts += 1
                return


@asynccontextmanager
async def open_proxy(agent_url: str, *, cut_bytes: int = 1 << 60) -> AsyncGenerator[Proxy]:
    proxy = Proxy(int(agent_url.rpartition(":")[2]), cut_bytes=cut_bytes)
    proxy.gate.set()
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        await nursery.start(trio.serve_listeners, proxy.handle, [listener])
        yield proxy
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Follower:
    """What follows; `said` is what it wrote to stderr, at its end."""

    stdout: trio.abc.ReceiveStream
    said: str = ""


@asynccontextmanager
async def following(url: str, slug: str) -> AsyncGenerator[Follower]:
    """Run `smartmob logs -f`; at the end of the block nobody is left to follow."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "smartmob_agent.client_cli", "logs", "-f", slug, "--agent", url],
        env={**os.environ, "SMARTMOB_CONFIG": "/nowhere"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with process.stdout as stdout, process.stderr as stderr:
        follower = Follower(stdout)
        yield follower
        assert await stdout.receive_some() == b""
        follower.said = b"".join([chunk async for chunk in stderr]).decode()
    assert await process.wait() == 0


async def test_a_million_lines_come_whole() -> None:
    with trio.fail_after(LIMIT):
        async with (
            archive_server() as archives,
            running_agent("--stop-timeout=0", f"--console-bytes={64 << 20}") as agent,
            open_proxy(agent.url, cut_bytes=CUT_BYTES) as proxy,
        ):
            await agent.create(archives.add("app.tar.gz", APP))
            await agent.wait_state("app.web.0", "running")
            async with following(proxy.url, "app.web.0") as follower:
                seen = 0
                while seen < len(EXPECTED):
                    data = await follower.stdout.receive_some(1 << 20)
                    assert data == EXPECTED[seen : seen + len(data)] != b"", f"behind byte {seen}"
                    seen += len(data)
                await agent.delete("app.web.0")
    assert proxy.cuts >= 4
    assert follower.said.count("app.web.0: connection lost: ") == proxy.cuts
    assert follower.said.count("app.web.0: connected again\n") == proxy.cuts
    assert "are lost" not in follower.said


async def test_lines_that_the_agent_has_no_more_are_told() -> None:
    """Those behind the pause come once, from the first that there still is."""
    config = AgentConfig(port=0, stop_timeout=0, output=OutputLimits(console_bytes=50_000))
    async with (
        open_world(config) as world,
        open_client(world.url) as client,
        open_proxy(world.url) as proxy,
    ):
        slug = (await client.create(**CREATE)).slug
        child = await world.spawner.next_child()
        child.write(b"line 0\n")
        async with following(proxy.url, slug) as follower:
            assert await follower.stdout.receive_some() == b"line 0\n"
            proxy.shut()
            async with client.attach(slug, after=1) as lines:
                for number in range(1, 31):
                    child.write(b"line %d " % number + b"x" * 5000 + b"\n")
                while not (await lines.receive()).text.startswith("line 30"):
                    pass
            proxy.gate.set()
            text = b""
            while not re.search(rb"line 30 x+\n", text):
                text += await follower.stdout.receive_some()
            await client.delete(slug)
    numbers = [int(number) for number in re.findall(rb"line (\d+) ", text)]
    assert numbers == list(range(numbers[0], 31))
    assert f"{slug}: {numbers[0] - 1} lines are lost: the agent has them no more" in follower.said
    assert numbers[0] > 1
