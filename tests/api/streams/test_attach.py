"""The attach socket without sockets, on the virtual clock."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import AgentConfig, OutputLimits
from smartmob_agent.output.frames import text_frames
from smartmob_agent.testing import FakeFetcher, FakeSpawner
from tests.api.asgi import WebSocketClient, attached, open_site
from tests.process.world import World, settle

Clock = trio.testing.MockClock


async def test_each_line_is_a_text_message(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site) as client:
            child.write(b"one\ntwo\nthree")
            await settle()
            client.leave()
        assert client.texts == ["one", "two"]


async def test_lines_go_as_ready_frames(
    autojump_clock: Clock,
) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site) as client:
            child.write(b"one\ntwo\n")
            message = await client.wait_for("websocket.send.frames")
            client.leave()
        assert message["frames"] == text_frames([b"one", b"two"])


async def test_a_client_attached_before_the_first_start_misses_nothing(
    autojump_clock: Clock,
) -> None:
    """It works in every state, and stays over restarts."""
    world = World(fetcher=FakeFetcher(delay=5))
    async with open_site(world) as site:
        await site.create()
        async with attached(site) as client:
            for number in range(3):
                child = await world.spawner.next_child()
                child.write(b"run %d" % number)
                child.exit(1)
            await trio.sleep(2)
            client.leave()
        assert client.texts == ["run 0", "run 1", "run 2"]


async def test_the_socket_ends_with_its_process(autojump_clock: Clock) -> None:
    """What is written while it is stopped arrives before the close."""
    world = World(spawner=FakeSpawner(obey=False))
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site) as client, trio.open_nursery() as nursery:
            nursery.start_soon(site.client.post, "/delete-process/app.web.0")
            await child.terminated.wait()
            child.write(b"bye\n")
            child.exit(0)
            close = await client.wait_for("websocket.close")
            client.leave()
        assert client.texts == ["bye"]
        assert client.messages[-1] is close
        assert (close["code"], trio.current_time()) == (1000, 0)


async def test_the_socket_ends_with_the_agent(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        await world.spawner.next_child()
        async with attached(site) as client:
            site.supervisor.close()
            close = await client.wait_for("websocket.close")
            client.leave()
        assert close["code"] == 1001


async def test_a_client_that_does_not_answer_the_close_is_not_waited_for(
    autojump_clock: Clock,
) -> None:
    async with open_site() as site:
        await site.create()
        async with attached(site):
            site.supervisor.close()
        assert trio.current_time() == 2


async def test_a_client_that_falls_behind_is_told_how_much_it_missed(
    autojump_clock: Clock,
) -> None:
    world = World(config=AgentConfig(output=OutputLimits(console_bytes=2000)))
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site) as slow, attached(site) as quick:
            slow.blocked = trio.Event()
            for number in range(100):
                child.write(b"%d\n" % number)
                await settle()
            slow.blocked.set()
            close = await slow.wait_for("websocket.close")
            assert quick.texts == [str(number) for number in range(100)]
            seen = [int(text) for text in slow.texts]
            assert seen == list(range(len(seen)))
            console = site.supervisor.get("app.web.0").console
            kept = console.next_line - console.items[0].first
            missed = 100 - len(seen) - kept
            assert (close["code"], close["reason"]) == (
                1013,
                f"too slow: {missed} lines missed",
            )
            slow.leave()
            quick.leave()


async def test_what_clients_send_is_ignored(autojump_clock: Clock) -> None:
    world = World()
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site) as client:
            for _ in range(1000):
                client.put({"type": "websocket.receive", "text": "x", "bytes": None})
            child.write(b"line\n")
            await settle()
            client.leave()
        assert client.texts == ["line"]


async def test_a_defect_closes_with_1011(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """An attach never lies: a normal close would say that the process has ended."""
    world = World()
    async with open_site(world) as site:
        await site.create()
        child = await world.spawner.next_child()
        async with attached(site) as client:
            console = site.supervisor.get("app.web.0").console
            child.write(b"x\n")
            await client.wait_for("websocket.send.frames")
            await settle()
            console.items.append(None)  # type: ignore[arg-type]  # what a defect may do
            next(iter(console.readers)).wake()
            close = await client.wait_for("websocket.close")
            console.items.pop()
            client.leave()
        assert close["code"] == 1011
    assert "attach failed" in caplog.messages


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/attach-console/nobody.0", "no process has the slug 'nobody.0'"),
        ("/attach-console/", "there is no WebSocket at this path"),
        ("/attach-console/a/b", "there is no WebSocket at this path"),
        ("/", "there is no WebSocket at this path"),
    ],
)
async def test_an_unknown_place_is_refused_before_the_upgrade(path: str, detail: str) -> None:
    async with open_site() as site:
        client = WebSocketClient(path)
        await client.run(site.app)
        start = client.messages[0]
        assert (start["status"], client.document["detail"]) == (404, detail)
        assert (b"content-type", b"application/problem+json") in start["headers"]


async def test_the_handshake_carries_the_request_id() -> None:
    async with open_site() as site:
        await site.create()
        async with attached(site, headers=[(b"x-request-id", b"r-1")]) as client:
            client.leave()
        assert client.messages[0]["headers"] == [(b"x-request-id", b"r-1")]


async def test_other_kinds_of_scopes_pass(autojump_clock: Clock) -> None:
    """The lifespan protocol is Quart's."""
    async with open_site() as site:
        messages: list[str] = []
        send, receive = trio.open_memory_channel[dict[str, str]](2)
        send.send_nowait({"type": "lifespan.startup"})
        send.send_nowait({"type": "lifespan.shutdown"})

        async def record(message: object) -> None:
            messages.append(message["type"])  # type: ignore[index]  # a message

        await site.app({"type": "lifespan"}, receive.receive, record)
        assert messages == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
