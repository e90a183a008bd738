"""WebSockets, as far as the tests of the client do not show them."""

from __future__ import annotations

import socket

import pytest
import trio

from smartmob_agent.client import open_client
from smartmob_agent.client.address import parse_address
from smartmob_agent.client.dial import unreachable
from smartmob_agent.client.errors import (
    BadAnswerError,
    ConnectionLostError,
    NoSuchProcessError,
    UnreachableError,
)
from smartmob_agent.client.network import Socket
from smartmob_agent.client.websockets import WebSockets
from tests.client.agent import CREATE, open_world, raw_server


def sockets_at(url: str) -> WebSockets:
    return WebSockets(parse_address(url), token=None, tls=None)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", ConnectionLostError),
        (b"HTTP/1.1 101 Switching Protocols\r\n", ConnectionLostError),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", BadAnswerError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", BadAnswerError),
    ],
)
async def test_a_server_that_makes_no_websocket_is_told(
    answer: bytes, error: type[Exception]
) -> None:
    async with raw_server(answer) as url:
        with pytest.raises(error):
            async with sockets_at(url).open("/attach-console/x", {}):
                pass


async def test_the_agent_says_why_there_is_none() -> None:
    async with open_world() as world:
        with pytest.raises(NoSuchProcessError, match="no process has the slug 'nobody'"):
            async with sockets_at(world.url).open("/attach-console/nobody", {}):
                pass


async def read_on(socket: Socket) -> None:
    while True:
        await socket.receive()


async def test_a_websocket_that_the_agent_closes_has_no_more_messages() -> None:
    async with open_world() as world:
        async with open_client(world.url) as client:
            await client.create(**CREATE)
        async with sockets_at(world.url).open("/attach-console/hello.web.0", {"tail": None}) as ws:
            world.agent.stop()
            with pytest.raises(ConnectionLostError, match="closed the WebSocket"):
                await read_on(ws)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "connection refused$"),
        ("https://127.0.0.1:1", "connection refused$"),
        (f"http://{'a' * 64}", "no host has such a name$"),
        ("unix:/nowhere/agent", "cannot reach the agent at unix:/nowhere/agent: no such file"),
    ],
)
async def test_nobody_there_is_told(url: str, message: str) -> None:
    with pytest.raises(UnreachableError, match=message):
        async with sockets_at(url).open("/attach-console/x", {}):
            pass


async def test_a_server_that_speaks_no_tls_is_told() -> None:
    async with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        with pytest.raises(UnreachableError, match=r"it does not speak TLS$"):
            async with sockets_at(url.replace("http", "https")).open("/attach-console/x", {}):
                pass


def test_the_cause_is_what_the_system_says() -> None:
    for error, words in (
        (socket.gaierror(-2, "Name not known"), "name not known"),
        (trio.TooSlowError(), "no answer in time"),
    ):
        assert str(unreachable("x", error)) == f"cannot reach the agent at x: {words}"
