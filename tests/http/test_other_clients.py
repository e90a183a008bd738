"""WebSocket clients that others wrote: what they make of our server, by real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest
import trio
import websockets.exceptions
from websockets.sync.client import ClientConnection, connect

from smartmob_agent.config.settings import AgentConfig, HttpLimits
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.listeners import open_listeners
from smartmob_agent.http.server import serve_http

TIME_LIMIT = 30
SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 200_000)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo; or do what the path says."""
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    offers = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offers[-1] if offers else None})
    if scope["path"] == "/close":
        await send({"type": "websocket.close", "code": 4321, "reason": "ça suffit"})
    if scope["path"] == "/fail":
        raise ValueError("a defect")
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[str]:
    """Serve; yield the URL of WebSockets."""
    stop = trio.Event()
    async with open_listeners(AgentConfig(port=0)) as listeners, trio.open_nursery() as nursery:
        with trio.fail_after(TIME_LIMIT):
            await nursery.start(
                partial(
                    serve_http,
                    app,
                    listeners,
                    limits=HttpLimits(**limits),
                    bodies=Bodies(HttpLimits(**limits)),
                    stop=stop,
                )
            )
            yield listeners[0].url.replace("http", "ws", 1)
        stop.set()


async def by_websockets(url: str, talk: Callable[[ClientConnection], Any], **options: Any) -> Any:
    """Let `websockets` talk, in a thread."""

    def run() -> Any:
        options.setdefault("close_timeout", TIME_LIMIT)
        with connect(url, open_timeout=TIME_LIMIT, proxy=None, **options) as client:
            return talk(client)

    return await trio.to_thread.run_sync(run)


async def by_aiohttp(url: str, talk: Callable[[Any], Any], **options: Any) -> Any:
    """Let `aiohttp` talk, in a thread with a loop of its own."""

    async def run() -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, **options) as client:
            return await talk(client)

    return await trio.to_thread.run_sync(asyncio.run, run())


async def test_websockets_gets_messages_of_all_sizes_back() -> None:
    """Text and bytes, in one frame or in several; the boundaries of RFC 6455, section 5.2."""

    def talk(client: ClientConnection) -> list[Any]:
        answers = []
        for size in SIZES:
            for message in ("é" * (size // 2), b"x" * size):
                client.send(message)
                answers.append(client.recv(TIME_LIMIT) == message)
        client.send(["in ", "three ", "pieces"])
        answers.append(client.recv(TIME_LIMIT) == "in three pieces")
        return answers

    async with serving(message_bytes=200_000) as url:
        assert all(await by_websockets(url, talk))


async def test_websockets_compares_its_pings() -> None:
    """Also those that it sends within a message."""

    def talk(client: ClientConnection) -> list[bool]:
        pongs = [client.ping(payload) for payload in ("", "a", "b" * 125)]
        return [pong.wait(TIME_LIMIT) for pong in pongs]

    async with serving() as url:
        assert all(await by_websockets(url, talk))


async def test_websockets_gets_codes_and_reasons() -> None:
    """Of a close, of a failure, of a message that is too long."""

    def wait_for_end(client: ClientConnection) -> tuple[int, str]:
        with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
            client.recv(TIME_LIMIT)
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code, caught.value.rcvd.reason

    def send_too_much(client: ClientConnection) -> tuple[int, str]:
        client.send("x" * 5000)
        return wait_for_end(client)

    async with serving() as url:
        found = [
            await by_websockets(f"{url}/close", wait_for_end),
            await by_websockets(f"{url}/fail", wait_for_end),
            await by_websockets(url, send_too_much),
        ]
    assert found == [(4321, "ça suffit"), (1011, ""), (1009, "")]


async def test_websockets_does_without_compression_and_gets_a_subprotocol() -> None:
    """It offers the one by itself, and the other on demand."""

    def talk(client: ClientConnection) -> Any:
        assert client.response is not None
        return client.subprotocol, client.response.headers.get("Sec-WebSocket-Extensions")

    async with serving() as url:
        assert await by_websockets(url, talk, subprotocols=["a", "b"]) == ("b", None)


async def test_websockets_sees_a_refusal_as_http() -> None:
    """With its status and its document."""
    async with serving() as url:
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            await by_websockets(f"{url}/refuse", lambda _: None)
    response = caught.value.response
    assert response.status_code == 403
    assert b'"status": 403' in (response.body or b"")


async def test_aiohttp_talks_and_closes() -> None:
    """With heartbeats of its own; the closing handshake is complete."""

    async def talk(client: Any) -> tuple[Any, ...]:
        await client.send_str("hello")
        text = await client.receive_str(timeout=TIME_LIMIT)
        await client.send_bytes(b"\0\1")
        data = await client.receive_bytes(timeout=TIME_LIMIT)
        await client.ping(b"x")
        closed = await client.close(code=4000, message=b"bye")
        return text, data, closed, client.close_code

    async with serving() as url:
        found = await by_aiohttp(url, talk, compress=15, heartbeat=10)
    assert found == ("hello", b"\0\1", True, 4000)


async def test_aiohttp_sees_the_end() -> None:
    """The server's code is that of the client's end."""

    async def talk(client: Any) -> tuple[Any, ...]:
        message = await client.receive(timeout=TIME_LIMIT)
        return message.type, message.data, message.extra, client.close_code

    async with serving() as url:
        found = await by_aiohttp(f"{url}/close", talk)
    assert found == (aiohttp.WSMsgType.CLOSE, 4321, "ça suffit", 4321)
