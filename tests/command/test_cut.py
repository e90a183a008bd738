"""`smartmob logs -f` through a proxy whose connections are cut: no line is lost or comes twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from tests.e2e.agent import LIMIT, archive_server, running_agent, tar_gz

pytestmark = pytest.mark.slow

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
"""Behind about so many bytes a connection is cut: six or seven times."""


@attrs.define(eq=False)
class Proxy:
    """Passes on to an agent, and resets connections that brought much, anywhere in a line.

    cuts: how many.
    """

    port: int
    url: str = ""
    cuts: int = 0
    chance: random.Random = attrs.field(factory=lambda: random.Random(8))

    async def handle(self, client: trio.SocketStream) -> None:
        agent = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with client, agent, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, client, agent)
            await self._pass_some(agent, client)
            nursery.cancel_scope.cancel()

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream) -> None:
        async for data in source:
            await target.send_all(data)

    async def _pass_some(self, agent: trio.SocketStream, client: trio.SocketStream) -> None:
        left = self.chance.randrange(CUT_BYTES // 2, CUT_BYTES * 3 // 2)
        async for data in agent:
            await client.send_all(data[:left])
            left -= len(data)
            if left < 0:
                self.cuts += 1
                return


@asynccontextmanager
async def open_proxy(agent_url: str) -> AsyncGenerator[Proxy]:
    proxy = Proxy(int(agent_url.rpartition(":")[2]))
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        await nursery.start(trio.serve_listeners, proxy.handle, [listener])
        yield proxy
        nursery.cancel_scope.cancel()


async def test_a_million_lines_come_whole() -> None:
    env = {**os.environ, "SMARTMOB_CONFIG": "/nowhere"}
    with trio.fail_after(LIMIT):
        async with (
            archive_server() as archives,
            running_agent("--stop-timeout=0", f"--console-bytes={64 << 20}") as agent,
            open_proxy(agent.url) as proxy,
        ):
            await agent.create(archives.add("app.tar.gz", APP))
            await agent.wait_state("app.web.0", "running")
            command = [sys.executable, "-m", "smartmob_agent.command", "logs", "-f", "app.web.0"]
            process = await trio.lowlevel.open_process(
                [*command, "--agent", proxy.url],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            seen = 0
            async with process.stdout as stdout, process.stderr as stderr:
                while seen < len(EXPECTED):
                    data = await stdout.receive_some(1 << 20)
                    assert data == EXPECTED[seen : seen + len(data)] != b"", f"behind byte {seen}"
                    seen += len(data)
                await agent.delete("app.web.0")
                assert await stdout.receive_some() == b""
                said = b"".join([chunk async for chunk in stderr]).decode()
            assert await process.wait() == 0
    assert proxy.cuts >= 4
    assert said.count("app.web.0: connection lost: ") == proxy.cuts
    assert said.count("app.web.0: connected again\n") == proxy.cuts
    assert "are lost" not in said
