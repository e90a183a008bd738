"""How output goes to one WebSocket: bare lines or records, in order, whole, and at once."""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from smartmob_agent.api.streams.attach_sender import ConsoleSender
from smartmob_agent.config.settings import AgentConfig, OutputLimits
from smartmob_agent.output.batch import Batch, Event, Stream
from smartmob_agent.output.console import Console, ConsoleEnd
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.output.frames import text_frames
from tests.api.asgi import WebSocketClient, attached, open_site
from tests.process.world import World, settle, wall_clock

Clock = trio.testing.MockClock


@attrs.define
class Socket:
    """A server with all extensions, whose socket takes `room` bytes at once.

    It sees to the rest of what it began: see `everything`.  It is stuck while `blocked` is not set.
    """

    room: int = 10_000
    data: bytes = b""
    messages: int = 0
    blocked: trio.Event | None = None
    _rest: bytes = b""

    def write_now(self, pieces: Sequence[bytes]) -> int:
        room = 0 if self._rest or self.blocked is not None else self.room
        taken = 0
        while room and taken < len(pieces):
            piece = pieces[taken]
            self.data += piece[:room]
            self._rest = piece[room:]
            room -= min(room, len(piece))
            taken += 1
        return taken

    async def send(self, message: Any) -> None:
        await trio.lowlevel.checkpoint()
        if self.blocked is not None:
            await self.blocked.wait()
        self.data += self._rest + message["frames"]
        self._rest = b""
        self.messages += 1

    @property
    def everything(self) -> bytes:
        return self.data + self._rest

    @property
    def scope(self) -> dict[str, Any]:
        return {"extensions": {"smartmob.write_now": self.write_now}}


def make_sender(console: Console, socket: Socket, *, records: bool = False) -> ConsoleSender:
    cursor = console.subscribe()
    return ConsoleSender(console, cursor, socket.scope, socket.send, records=records)


async def test_an_idle_socket_is_written_to_without_a_task(nursery: trio.Nursery) -> None:
    console, socket = Console(10_000, wall_clock), Socket()
    nursery.start_soon(make_sender(console, socket).run)
    await settle()
    console.publish(Stream.STDOUT, b"a\nb\n")
    assert socket.data == text_frames([b"a", b"b"])
    await settle()
    assert socket.messages == 0
    nursery.cancel_scope.cancel()


async def test_what_the_socket_does_not_take_follows_in_order(nursery: trio.Nursery) -> None:
    """A frame that was begun is ended before the next one, whatever comes meanwhile."""
    console, socket = Console(10_000, wall_clock), Socket(room=3)
    nursery.start_soon(make_sender(console, socket).run)
    await settle()
    lines = [b"first", b"second", b"third"]
    for line in lines:
        console.publish(Stream.STDOUT, line + b"\n")
    await settle()
    console.publish(Stream.STDOUT, b"fourth\n")
    await settle()
    assert socket.everything == text_frames([*lines, b"fourth"])
    nursery.cancel_scope.cancel()


async def test_records_tell_lines_events_and_the_end(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site, query="format=json&tail=9") as client:
            child.write(b"one\n")
            await settle()
            child.write_error(b"two")
            child.exit(3)
            await world.spawner.next_child()
            site.supervisor.get("app.web.0").stop()
            await client.wait_for("websocket.close")
            client.leave()
        now, later = "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z"
        assert records_of(client) == [
            {"event": "started", "time": now, "pid": 1000, "port": 20000},
            {"seq": 1, "time": now, "stream": "stdout", "pid": 1000, "line": "one"},
            {"seq": 2, "time": now, "stream": "stderr", "pid": 1000, "line": "two"},
            {"event": "exited", "time": now, "pid": 1000, "code": 3},
            {"event": "started", "time": later, "pid": 1001, "port": 20000},
            {"event": "exited", "time": later, "pid": 1001, "signal": "SIGTERM"},
            {"event": "end", "reason": "process"},
        ]


def records_of(client: WebSocketClient) -> list[Any]:
    return [json.loads(text) for text in client.texts]


async def test_bare_lines_go_without_events(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site, query="tail=9") as client:
            child.exit(1)
            (await world.spawner.next_child()).write(b"line\n")
            await settle()
            client.leave()
        assert client.texts == ["line"]


async def test_a_gap_in_records_is_told_and_they_go_on(autojump_clock: Clock) -> None:
    world = World(config=AgentConfig(output=OutputLimits(console_bytes=5000)))
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        for number in range(100):
            child.write(b"%d\n" % number)
            await settle()
        async with attached(site, query="format=json&after=10") as client:
            await settle()
            client.leave()
        gap, *rest = records_of(client)
        oldest = site.supervisor.get("app.web.0").console.items[0].first
        assert gap == {"event": "dropped", "lines": oldest - 11}
        assert [record["seq"] for record in rest] == list(range(oldest, 101))


async def test_a_gap_in_bare_lines_closes(autojump_clock: Clock) -> None:
    world = World(config=AgentConfig(output=OutputLimits(console_bytes=5000)))
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        for number in range(100):
            child.write(b"%d\n" % number)
            await settle()
        async with attached(site, query="after=10") as client:
            close = await client.wait_for("websocket.close")
            client.leave()
        missed = site.supervisor.get("app.web.0").console.items[0].first - 11
        assert (close["code"], close["reason"]) == (1013, f"too slow: {missed} lines missed")


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("", ["4"]),
        ("tail=2", ["2", "3", "4"]),
        ("after=1", ["2", "3", "4"]),
        ("stream=stderr&tail=9", ["2"]),
    ],
)
async def test_a_client_begins_where_it_asked_to(
    autojump_clock: Clock, query: str, lines: list[str]
) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        writes: list[tuple[Callable[[bytes], None], bytes]] = [
            (child.write, b"1\n"),
            (child.write_error, b"2\n"),
            (child.write, b"3\n"),
        ]
        for write, line in writes:
            write(line)
            await settle()
        async with attached(site, query=query) as client:
            child.write(b"4\n")
            await settle()
            client.leave()
        assert client.texts == lines


@pytest.mark.parametrize("query", ["tail=x", "after=7", "follow=1"])
async def test_a_wrong_option_is_refused_before_the_upgrade(query: str) -> None:
    async with open_site() as site:
        await site.create()
        client = WebSocketClient("/attach-console/app.web.0", query=query)
        await client.run(site.app)
        assert (client.messages[0]["status"], len(client.document["errors"])) == (400, 1)


async def test_the_end_of_the_agent_is_told_in_records(autojump_clock: Clock) -> None:
    console, socket = Console(10_000, wall_clock), Socket()
    sender = make_sender(console, socket, records=True)
    console.close(ConsoleEnd.AGENT)
    assert (await sender.run())[0] == 1001
    assert socket.data == text_frames([b'{"event": "end", "reason": "agent"}'])


@given(
    publishes=st.lists(st.lists(st.integers(0, 30_000), max_size=5), max_size=10),
    rooms=st.lists(st.integers(0, 60_000), min_size=1, max_size=10),
    records=st.booleans(),
)
def test_whatever_a_socket_takes_all_frames_arrive_once_and_in_order(
    publishes: list[list[int]], rooms: list[int], records: bool
) -> None:
    """Lines of any length, in pieces or not, written by the pump or by the client's own task."""

    async def main() -> None:
        console, socket = Console(10_000_000, wall_clock), Socket()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make_sender(console, socket, records=records).run)
            await settle()
            for index, sizes in enumerate(publishes):
                socket.room = rooms[index % len(rooms)]
                console.publish(Stream.STDOUT, b"".join(b"x" * size + b"\n" for size in sizes))
                if index % 2:
                    await settle()
            await settle()
            nursery.cancel_scope.cancel()
        items = [item for item in console.items if isinstance(item, Batch)]
        if records:
            texts = [json.dumps(record).encode() for item in items for record in item.records]
        else:
            texts = [line for item in items for line in item.lines]
        assert socket.everything == text_frames(texts)

    trio.run(main)


async def test_a_stuck_client_holds_only_what_it_is_being_sent(nursery: trio.Nursery) -> None:
    """Neither the batch, when the console has dropped it, nor the rest of its frames."""
    console, socket = Console(10_000, wall_clock), Socket(blocked=trio.Event())
    nursery.start_soon(make_sender(console, socket).run)
    await settle()
    console.publish(Stream.STDOUT, b"x" * 999 + b"\n" + b"first\n" * 10_000)
    batch = console.items[-1]
    await settle()
    batch_ref, frames_ref = weakref.ref(batch), batch.frames
    del batch
    console.publish(Stream.STDOUT, b"later\n")
    assert batch_ref() is None
    held = [sys.getrefcount(data) for data in frames_ref.data]
    assert held[0] > held[1] == held[-1]
    nursery.cancel_scope.cancel()


class FakeHistory:
    """What is on the disk, with gaps."""

    def __init__(self, console: Console, items: list[Batch | LinesMissedError]) -> None:
        self._console, self._items = console, items

    @property
    def is_live(self) -> bool:
        return not self._items

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive(self) -> Batch:
        await trio.lowlevel.checkpoint()
        item = self._items.pop(0)
        if isinstance(item, LinesMissedError):
            raise item
        return item

    def hand_over(self) -> Cursor[Batch | Event]:
        return self._console.subscribe()


def stored(first: int, text: bytes) -> Batch:
    return Batch(first=first, stream=Stream.STDOUT, time=wall_clock(), text=text)


@pytest.mark.parametrize("records", [True, False])
async def test_a_gap_on_the_disk_is_told_or_ends_it(
    records: bool, nursery: trio.Nursery, autojump_clock: Clock
) -> None:
    console, socket = Console(10_000, wall_clock), Socket()
    history = FakeHistory(console, [stored(1, b"one\n"), LinesMissedError(3), stored(5, b"x\n")])
    sender = ConsoleSender(
        console,
        console.subscribe(),
        socket.scope,
        socket.send,
        records=records,
        history=history,  # type: ignore[arg-type]  # all that it needs of one
    )
    console.close(ConsoleEnd.PROCESS)
    code, _ = await sender.run()
    assert code == (1000 if records else 1013)
    assert (b'"lines": 3' in socket.everything) == records


async def test_many_short_lines_of_the_disk_come_in_parts(autojump_clock: Clock) -> None:
    console, socket = Console(10_000, wall_clock), Socket()
    history = FakeHistory(console, [stored(1, b"\n" * 3000)])
    sender = ConsoleSender(
        console,
        console.subscribe(),
        socket.scope,
        socket.send,
        records=True,
        history=history,  # type: ignore[arg-type]  # all that it needs of one
    )
    console.close(ConsoleEnd.PROCESS)
    assert (await sender.run())[0] == 1000
    assert socket.everything.count(b'"seq"') == 3000
