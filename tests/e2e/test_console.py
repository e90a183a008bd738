"""The console on real pipes and sockets: no line is lost, doubled or damaged unseen."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import attrs
import pytest
import trio

import smartmob_agent
from smartmob_agent import Agent, AgentConfig, RestartDelays
from tests.e2e.agent import LIMIT, archive_server, tar_gz

pytestmark = pytest.mark.slow

LINES = 1_000_000
RUN = 50_000
COUNTER = f"""
import os, time
begin = int(open("n").read()) if os.path.exists("n") else 1
while not os.path.exists("go"):
    time.sleep(0.01)
for n in range(begin, begin + {RUN}, 1000):
    data = b"".join(b"%09d\\n" % i for i in range(n, n + 1000))
    while data:
        data = data[os.write(1, data):]
    time.sleep(0.001)
open("n", "w").write(str(begin + {RUN}))
if begin + {RUN} > {LINES}:
    time.sleep(1000)
"""
APP = tar_gz({"Procfile": "web: exec python3 -S count.py\n", "count.py": COUNTER})
CONFIG = AgentConfig(
    port=0, stop_timeout=0, restart=RestartDelays(base_delay=0.001, cap_delay=0.001)
)


EXPECTED = b"".join(b"\x81\x09%09d" % number for number in range(1, LINES + 1))
"""All lines as a client must get them: frames of 9 bytes."""
FRAME = 11


@attrs.define(eq=False)
class Reader:
    """A client that parses frames by itself, and checks that numbers run without a gap.

    last: the number of the last line.
    told: how many lines it was told that it missed.
    """

    stream: trio.SocketStream
    records: bool
    last: int = 0
    told: int = 0
    runs: int = 0
    _data: bytes = b""

    async def open(self, url: str, path: str) -> None:
        host = url.removeprefix("http://")
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await self.stream.send_all(request.encode())
        while b"\r\n\r\n" not in self._data:
            self._data += await self.stream.receive_some()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    async def read(self) -> bool:
        """Read some; return False when the server has closed."""
        self._data += (data := await self.stream.receive_some(65536))
        self._compare()
        for kind, payload in self._frames():
            if kind == 9:
                await self.stream.send_all(bytes((0x8A, 0x80 | len(payload), 0, 0, 0, 0)) + payload)
                continue
            if kind == 8:
                self._closed(payload)
                return False
            assert kind == 1
            self._line(payload)
        return bool(data)

    def _compare(self) -> None:
        """Take whole frames of lines at one look, if they are just those that must come."""
        if self.last and not self.records:
            end = len(self._data) // FRAME * FRAME
            if EXPECTED.startswith(self._data[:end], self.last * FRAME):
                self.last += end // FRAME
                self._data = self._data[end:]

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        view, at = self._data, 0
        while len(view) - at >= 2:
            size, body = view[at + 1], at + 2
            if size == 126:
                size, body = int.from_bytes(view[at + 2 : at + 4], "big"), at + 4
            if len(view) < body + size:
                break
            yield view[at] & 15, view[body : body + size]
            at = body + size
        self._data = view[at:]

    def _line(self, payload: bytes) -> None:
        if not self.records:
            self._number(int(payload))
            return
        record = json.loads(payload)
        if "seq" in record:
            assert record["seq"] == int(record["line"])
            self._number(record["seq"])
        elif record["event"] == "dropped":
            self.told += record["lines"]
            self.last += record["lines"] if self.last else 0

    def _number(self, number: int) -> None:
        assert number == self.last + 1 or not self.last, (number, self.last)
        self.last = number

    def _closed(self, payload: bytes) -> None:
        code, reason = int.from_bytes(payload[:2], "big"), payload[2:].decode()
        assert code == 1013, (code, reason)
        self.told += int(reason.removeprefix("too slow: ").removesuffix(" lines missed"))


async def come_and_go(agent: Agent, seed: int, seen: list[int]) -> None:
    """Attach again and again until the last line was seen; now and then resume where one left."""
    rng = random.Random(seed)
    last, host = 0, agent.url.removeprefix("http://").split(":")
    while last < LINES:
        records = rng.random() < 0.1
        resume = f"after={last}" if last and rng.random() < 0.7 else f"tail={rng.randrange(99)}"
        query = f"{resume}&format={'json' if records else 'text'}"
        async with await trio.open_tcp_stream(host[0], int(host[1])) as stream:
            reader = Reader(stream, records, last if resume.startswith("after") else 0)
            await reader.open(agent.url, f"/attach-console/app.web.0?{query}")
            # Some leave soon, some stay to the end.
            budget = rng.choice([3, 30, 30 if records else 1_000_000])
            while budget and reader.last < LINES and await reader.read():
                budget -= 1
            # One that was closed for being slow begins anew.
            last = max(last, reader.last) if not reader.told or records else 0
            seen.append(reader.last)


async def test_a_million_lines_over_restarts_to_clients_that_come_and_go() -> None:
    seen: list[int] = []
    with trio.fail_after(LIMIT):
        async with archive_server() as server, trio.open_nursery() as agents:
            agent: Agent = await agents.start(smartmob_agent.serve, CONFIG)
            process = agent.supervisor.create(
                smartmob_agent.ProcessSpec(
                    app="app",
                    node="web.0",
                    process_type="web",
                    source_url=server.add("app", APP),
                )
            )
            await process.wait_state(smartmob_agent.State.RUNNING)
            async with trio.open_nursery() as clients:
                for seed in range(20):
                    clients.start_soon(come_and_go, agent, seed, seen)
                await trio.Path(f"/proc/{process.pid}/cwd/go").touch()
            assert process.restarts == LINES // RUN - 1
            assert process.console.next_line == LINES + 1
            agent.stop()
    assert sum(number == LINES for number in seen) == 20


async def test_what_was_begun_by_one_child_does_not_run_into_the_next() -> None:
    """The last line of a child has no end; its exit comes behind it, the next child's after."""
    script = "echo first; printf 'no end'; echo error >&2; exit 3"
    body = tar_gz({"Procfile": "web: exec sh ./run.sh\n", "run.sh": script})
    with trio.fail_after(LIMIT):
        async with archive_server() as server, trio.open_nursery() as agents:
            agent: Agent = await agents.start(smartmob_agent.serve, CONFIG)
            process = agent.supervisor.create(
                smartmob_agent.ProcessSpec(
                    app="app", node="0", process_type="web", source_url=server.add("a", body)
                )
            )
            cursor = process.console.subscribe(tail=99)
            records: list[object] = []
            while len([r for r in records if r == "exited"]) < 2:
                item = await cursor.receive()
                records += [record.get("event", record.get("line")) for record in item.records]
            agent.stop()
    assert sorted(map(str, records[1:4])) == ["error", "first", "no end"]
    assert records[0] == records[5] == "started"
    assert records[4] == records[9] == "exited"
