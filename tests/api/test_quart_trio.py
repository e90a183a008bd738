"""Quart-Trio on our server: what it and hypercorn made go wrong together."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from quart import request, websocket
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import CloseConnection, TextMessage

from smartmob_agent.http.middleware.disconnect import cancel_at_disconnect
from tests.http.memory import serving

CLOSED: list[float] = []


@pytest.fixture
def app() -> Any:
    """An application whose start-up hooks nobody calls."""
    app = QuartTrio(__name__, static_folder=None)

    @app.get("/")
    async def index() -> dict[str, str]:
        return {"hello": "world"}

    @app.post("/body")
    async def body() -> Any:
        return await request.get_data()

    @app.post("/early")
    async def early() -> Any:
        return {"no": "thanks"}, 400

    @app.get("/wait")
    async def wait() -> Any:
        try:
            await trio.sleep_forever()
        finally:
            CLOSED.append(trio.current_time())

    @app.websocket("/socket")
    async def socket() -> None:
        await websocket.accept()
        await websocket.send(await websocket.receive())
        await websocket.close(1000)

    @app.websocket("/deaf")
    async def deaf() -> None:
        await websocket.accept()
        try:
            await trio.sleep_forever()
        finally:
            CLOSED.append(trio.current_time())

    return app


async def test_the_keep_alive_timer_outlives_a_handler(autojump_clock: MockClock, app: Any) -> None:
    """quart-trio cancels the handler while it sends its last message, and the timer with it."""
    async with serving(app, header_timeout=5) as server:
        client = server.connect()
        for _ in range(3):
            assert (await client.request())[1] == b'{"hello":"world"}\n'
            await trio.sleep(4)
        assert await client.rest() == b""
        assert trio.current_time() == 4 + 4 + 5


async def test_a_body_is_read(autojump_clock: MockClock, app: Any) -> None:
    """In one piece or in many."""
    async with serving(app) as server:
        client = server.connect()
        await client.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
        for _ in range(20):
            await wait_all_tasks_blocked()
            await client.send(b"x" * 10_000)
        assert (await client.response())[1] == b"x" * 200_000


async def test_an_early_answer_does_not_stick_the_connection(
    autojump_clock: MockClock, app: Any
) -> None:
    """Nobody reads the body, so it is the last answer."""
    async with serving(app, linger_timeout=2, graceful_timeout=3) as server:
        client = server.connect()
        await client.send(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        await client.send(b"x" * 900_000)
        response, _ = await client.response()
        assert response.status_code == 400
        assert await client.rest() == b""
    assert trio.current_time() == 2


async def test_a_handler_is_cancelled_when_its_client_leaves(
    autojump_clock: MockClock, app: Any
) -> None:
    """At once."""
    CLOSED.clear()
    async with serving(app) as server:
        client = server.connect()
        await client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await trio.sleep(1)
        await client.stream.aclose()
        await trio.sleep(1)
    assert CLOSED == [1]


async def test_a_client_that_leaves_within_its_body_is_no_defect(
    autojump_clock: MockClock, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Quart 0.23 raises an error in the handler for it, and another one when it answers."""

    @app.errorhandler(Exception)  # type: ignore[untyped-decorator]  # the fixture is Any
    async def on_defect(error: Exception) -> tuple[str, int]:
        CLOSED.append(-1)
        return str(error), 500

    CLOSED.clear()
    async with serving(cancel_at_disconnect(app)) as server:
        assert (await server.connect().request())[0].status_code == 200
        client = server.connect()
        await client.send(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
        await wait_all_tasks_blocked()
        await client.stream.aclose()
        await trio.sleep(1)
    assert (CLOSED, caplog.records) == ([], [])


async def test_a_websocket(autojump_clock: MockClock, app: Any) -> None:
    """Closed by its handler, with its code."""
    async with serving(app) as server:
        client = server.connect()
        data = b"GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n"
        socket = await client.upgrade(data + key)
        await socket.send(TextMessage("x"))
        assert await socket.next() == TextMessage("x")
        assert await socket.next() == CloseConnection(code=1000, reason="")
        await socket.send(CloseConnection(code=1000))
        assert await socket.next() is None
    assert trio.current_time() == 0


async def test_messages_that_a_handler_does_not_read_do_not_block_its_end(
    autojump_clock: MockClock, app: Any
) -> None:
    """Quart 0.22 queues ten, and then hears no more of its client."""

    CLOSED.clear()
    async with serving(app, ping_interval=20, graceful_timeout=3) as server:
        client = server.connect()
        data = b"GET /deaf HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + b"A" * 22 + b"==\r\n\r\n"
        socket = await client.upgrade(data + key)
        for _ in range(60):
            await socket.send(TextMessage("x"))
        await socket.stream.aclose()
        await trio.sleep(100)
    assert CLOSED[0] <= 20 + 3
