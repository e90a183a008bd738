"""A connection on the virtual clock: TLS, isolation and its end."""

from __future__ import annotations

import logging
import ssl
from typing import Any

import pytest
import trio
import trustme
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import BytesMessage, CloseConnection

from smartmob_agent.http.connection import Peer
from tests.http.memory import Client, answer, echo, hello, serving


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    authority = trustme.CA()
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("agent.example.org").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    return server_side, client_side


async def test_requests_and_websockets_by_tls(
    autojump_clock: MockClock, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """The application sees the secure scheme."""
    schemes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        schemes.append(scope["scheme"])
        await (hello if scope["type"] == "http" else echo)(scope, receive, send)

    async with serving(app) as server:
        client = server.connect_tls(*contexts)
        assert (await client.request())[1] == b"hello "
        await client.upgrade()
        await client.stream.aclose()
    assert schemes == ["https", "wss"]


async def test_an_early_answer_by_tls_arrives(
    autojump_clock: MockClock, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """TLS has no half of a close; reading on does what is needed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", 404)

    async with serving(app, linger_timeout=2, graceful_timeout=3) as server:
        client = server.connect_tls(*contexts)
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
        assert (await client.response())[1] == b"no"
    assert trio.current_time() == 2


async def test_the_last_answer_by_tls_is_followed_by_the_end_at_once(
    autojump_clock: MockClock, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """A client that reads to the end does not wait."""
    async with serving(hello) as server:
        client = server.connect_tls(*contexts)
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await client.rest()).endswith(b"\r\n\r\nhello ")
        assert trio.current_time() == 0


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\xff" + bytes(255)])
async def test_what_is_no_tls_is_closed(
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    data: bytes,
) -> None:
    """With one line in the log, which is no warning."""
    caplog.set_level(logging.INFO)
    async with serving(hello) as server:
        client = server.connect_tls(*contexts)
        await client.stream.transport_stream.send_all(data)
        await wait_all_tasks_blocked()
        await client.stream.transport_stream.aclose()
    logged = [(record.getMessage(), record.levelname) for record in caplog.records]
    assert logged == [("handshake failed", "INFO")]


async def test_a_handshake_that_is_not_made_is_a_time_out(
    autojump_clock: MockClock, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """As for headers; stopping does not wait for it."""
    async with serving(hello, header_timeout=7) as server:
        client = server.connect_tls(*contexts)
        assert await client.stream.transport_stream.receive_some() == b""
        assert trio.current_time() == 7
        server.connect_tls(*contexts)
        await wait_all_tasks_blocked()
    assert trio.current_time() == 7


async def test_an_error_ends_one_connection_only(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Logged once, with the address of the client."""
    async with serving(hello) as server:
        client, broken = server.connect(), server.connect(host="10.0.0.2")
        await broken.send(b"GET / HTTP/1.1\r\nHost: agent\r\n")
        await wait_all_tasks_blocked()

        async def receive_some(_max_bytes: int) -> bytes:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("a defect")

        server.streams[-1].receive_some = receive_some
        await broken.send(b"X: x\r\n")
        assert await broken.rest() == b""
        assert (await client.request())[1] == b"hello "
    logged = [(r.getMessage(), vars(r)["peer"]) for r in caplog.records]
    assert logged == [("connection failed", "10.0.0.2:4711")]


async def test_a_peer_that_resets_is_nothing_special(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is read from, and while it is written to."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async with serving(app) as server:
        for path in (b"", b" / HTTP/1.1\r\nHost: agent\r\n\r\n"):
            client = server.connect(lockstep=True)
            await client.send(b"GET" + path)
            await wait_all_tasks_blocked()
            await client.stream.aclose()
    assert not caplog.records


async def test_frames_that_are_written_at_once_stay_in_one_piece() -> None:
    """What the socket does not take goes out before anything that is sent later."""
    size = 4_000_000
    written = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        write_now = scope["extensions"]["smartmob.write_now"]
        written.append(write_now([b"\x82\x00", b"\x82\x00"]))
        frame = b"\x82\x7f" + size.to_bytes(8, "big") + bytes(size)
        written.append(write_now([b"\x82\x00", frame, b"\x81\x01x"]))
        written.append(write_now([b"\x81\x01x"]))
        await send({"type": "websocket.close", "code": 1000})
        written.append(write_now([b"\x81\x01x"]))
        while (await receive())["type"] != "websocket.disconnect":
            pass

    ours, theirs = trio.socket.socketpair()
    async with serving(app) as server:
        server.accept(trio.SocketStream(theirs))
        async with trio.SocketStream(ours) as stream:
            websocket = await Client(stream).upgrade()
            received = 0
            while isinstance(event := await websocket.next(), BytesMessage):
                received += len(event.data)
            assert event == CloseConnection(code=1000, reason="")
            await websocket.send(CloseConnection(code=1000))
            assert await websocket.next() is None
    assert (received, written) == (size, [2, 2, 0, 0])


async def test_nothing_is_written_at_once_where_it_cannot_be(
    autojump_clock: MockClock, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """TLS would have to be written in one order; a memory stream has no descriptor."""
    written = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        written.append(scope["extensions"]["smartmob.write_now"]([b"\x81\x01x"]))

    async with serving(app) as server:
        for client in (server.connect_tls(*contexts), server.connect()):
            websocket = await client.upgrade()
            assert await websocket.next() == CloseConnection(code=1011, reason="")
            await websocket.send(CloseConnection(code=1011))
            await client.stream.aclose()
    assert written == [0, 0]


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (Peer("10.0.0.1", 80), "10.0.0.1:80"),
        (Peer("::1", 80), "[::1]:80"),
        (Peer("unix"), "unix"),
    ],
)
def test_a_peer_in_the_log(peer: Peer, text: str) -> None:
    """As in a URL."""
    assert str(peer) == text
