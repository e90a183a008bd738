"""WebSockets on the virtual clock: handshake, messages, pings, closing."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage

from tests.http.memory import KEY, UPGRADE, Client, WebSocket, answer, echo, serving


def upgrade_with(old: bytes = b"", new: bytes = b"") -> bytes:
    """The handshake with a part replaced; with neither, unchanged."""
    assert old in UPGRADE
    return UPGRADE.replace(old, new)


async def refused(client: Client, data: bytes) -> bytes:
    """Send a handshake; return what comes until the server closes."""
    await client.send(data)
    return await client.rest()


async def test_messages_go_both_ways(autojump_clock: MockClock) -> None:
    """As text."""
    async with serving(echo) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(TextMessage("zwölf"))
        assert await websocket.next() == TextMessage("zwölf")
        await websocket.send(CloseConnection(code=1000))
        assert await websocket.next() == CloseConnection(code=1000, reason="")
        assert await websocket.next() is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(upgrade_with(b"Version: 13", b"Version: 8"), 426, id="version"),
        pytest.param(upgrade_with(b"Sec-WebSocket-Version: 13\r\n", b""), 426, id="no-version"),
        pytest.param(upgrade_with(KEY, b"short"), 400, id="short-key"),
        pytest.param(upgrade_with(KEY, b"!" * 24), 400, id="bad-key"),
        pytest.param(upgrade_with(b"Sec-WebSocket-Key", b"X-Key"), 400, id="no-key"),
        pytest.param(upgrade_with(b"HTTP/1.1", b"HTTP/1.0"), 400, id="http-1.0"),
        pytest.param(
            upgrade_with(b"Host", b"Sec-WebSocket-Protocol: caf\xe9\r\nHost"),
            400,
            id="subprotocol-not-ascii",
        ),
        pytest.param(
            upgrade_with(b"Host", b"Content-Length: 5\r\nHost") + b"12345", 400, id="body"
        ),
    ],
)
async def test_a_malformed_handshake_is_refused(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, data: bytes, status: int
) -> None:
    """By a problem document; the application does not hear of it."""
    async with serving(echo) as server:
        head, _, body = (await refused(server.connect(), data)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert (b"upgrade: websocket" in head) == (status == 426)
        assert b'"status": %d' % status in body
    assert not caplog.records


async def test_lists_may_stand_on_several_lines(autojump_clock: MockClock) -> None:
    """RFC 9110, section 5.3; some proxies write headers so."""
    data = upgrade_with(b"Host", b"Connection: keep-alive\r\nHost")
    async with serving(echo) as server:
        websocket = await server.connect().upgrade(data)
        await websocket.send(TextMessage("x"))
        assert await websocket.next() == TextMessage("x")


async def test_compression_is_never_agreed_on(autojump_clock: MockClock) -> None:
    """A small frame cannot become a large message."""
    offer = upgrade_with(b"Host", b"Sec-WebSocket-Extensions: permessage-deflate\r\nHost")
    async with serving(echo) as server:
        client = server.connect()
        await client.send(offer)
        assert b"extensions" not in bytes(await client.stream.receive_some(10000)).lower()


async def test_frames_that_come_with_the_handshake_wait_for_its_answer(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """hypercorn's server ends with one of them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1)
        await echo(scope, receive, send)

    async with serving(app) as server:
        client = server.connect()
        early = WebSocket(client.stream)
        first, second = (early.frames.send(TextMessage(text)) for text in ("1", "2"))
        await client.send(UPGRADE + first)
        await wait_all_tasks_blocked()
        await client.send(second)
        websocket = await client.upgrade(b"")
        assert await websocket.next() == TextMessage("1")
        assert await websocket.next() == TextMessage("2")
    assert not caplog.records


async def test_a_client_may_leave_before_the_handshake_is_answered(
    autojump_clock: MockClock,
) -> None:
    """With frames on the way, or without."""
    codes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        codes.append((await receive())["code"])
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send.frames", "frames": b"\x81\x00"})

    async with serving(app) as server:
        client = server.connect()
        await client.send(UPGRADE)
        await wait_all_tasks_blocked()
        await client.stream.aclose()
        await wait_all_tasks_blocked()
    assert codes == [1006]


async def test_an_application_may_refuse_a_websocket_by_an_answer(
    autojump_clock: MockClock,
) -> None:
    """Such as a 404, which ends the connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = {"status": 404, "headers": [(b"content-length", b"2")]}
        await send({"type": "websocket.http.response.start", **start})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    async with serving(app) as server:
        data = await refused(server.connect(), UPGRADE)
        assert data.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert b"\r\nconnection: close\r\n" in data
        assert data.endswith(b"\r\n\r\nno")


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        pytest.param([{"type": "websocket.close"}], 403, id="close"),
        pytest.param([], 500, id="return"),
        pytest.param([{"type": "websocket.accept", "subprotocol": "x"}], 500, id="subprotocol"),
    ],
)
async def test_a_websocket_that_is_not_accepted_is_a_problem(
    autojump_clock: MockClock, messages: list[Any], status: int
) -> None:
    """Also when the application fails to accept it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async with serving(app) as server:
        data = await refused(server.connect(), UPGRADE)
        assert data.startswith(b"HTTP/1.1 %d " % status)
        assert b"application/problem+json" in data


async def test_frames_are_written_as_they_are(autojump_clock: MockClock) -> None:
    """All by one write; after the close there are no more."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert "smartmob.frames" in scope["extensions"]
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send.frames", "frames": b"\x81\x01a\x81\x01b"})
        await send({"type": "websocket.close", "code": 1000})
        await send({"type": "websocket.send.frames", "frames": b"\x81\x01c"})

    async with serving(app) as server:
        client = server.connect(lockstep=True)
        websocket = await client.upgrade()
        assert await client.stream.receive_some(1000) == b"\x81\x01a\x81\x01b"
        assert await client.stream.receive_some(1000) == b"\x88\x02\x03\xe8"
        await websocket.send(CloseConnection(code=1000))
        assert await websocket.next() is None


async def test_the_application_learns_the_code_of_the_close(autojump_clock: MockClock) -> None:
    """hypercorn knows but 1000 and 1006."""
    codes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            pass
        codes.append(message["code"])
        assert await receive() == message

    async with serving(app) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(CloseConnection(code=4000))
        assert await websocket.next() == CloseConnection(code=4000, reason="")
        websocket = await server.connect().upgrade()
        await websocket.stream.send_all(b"\x88\x80\0\0\0\0")
        assert await websocket.stream.receive_some() == b"\x88\x00"
        client = server.connect()
        await client.upgrade()
        await client.stream.aclose()
    assert codes == [4000, 1005, 1006]


async def test_a_handler_that_fails_closes_with_1011(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An end that was not announced is an error as well."""
    async with serving(echo) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(TextMessage("fail"))
        assert await websocket.next() == CloseConnection(code=1011, reason="")
        await websocket.send(CloseConnection(code=1011))
        assert await websocket.next() is None
    assert [record.getMessage() for record in caplog.records] == ["handler failed"]


@pytest.mark.parametrize(
    "message", [TextMessage("ö" * 6), BytesMessage(b"x" * 11)], ids=["text", "bytes"]
)
async def test_a_message_over_the_limit_closes_with_1009(
    autojump_clock: MockClock, message: Message[Any]
) -> None:
    """What follows is not read as messages any more; the close is waited for, but not long."""
    ends = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            pass
        ends.append((message["code"], trio.current_time()))

    async with serving(app, message_bytes=10, graceful_timeout=3) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(BytesMessage(b"x" * 10))
        await websocket.send(message)
        await websocket.send(TextMessage("x"))
        await websocket.send(Ping())
        assert await websocket.next() == CloseConnection(code=1009, reason="")
        assert await websocket.next() is None
        assert trio.current_time() == 3
    assert ends == [(1009, 0)]


async def test_a_message_in_pieces_is_counted_as_a_whole(autojump_clock: MockClock) -> None:
    """Frame by frame."""
    async with serving(echo, message_bytes=10) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(TextMessage("123", message_finished=False))
        await websocket.send(TextMessage("456"))
        assert await websocket.next() == TextMessage("123456")
        for _ in range(4):
            await websocket.send(TextMessage("123", message_finished=False))
        assert await websocket.next() == CloseConnection(code=1009, reason="")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(b"\x81\x00", 1002, id="unmasked"),
        pytest.param(b"\x83\x80\0\0\0\0", 1002, id="opcode"),
        pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="reserved-bit"),
        pytest.param(b"\x81\x81\0\0\0\0\xff", 1007, id="utf-8"),
        pytest.param(b"\x80\x80\0\0\0\0", 1002, id="continuation"),
        pytest.param(b"\x88\x81\0\0\0\0\x03", 1002, id="short-close"),
        pytest.param(b"\x89\xfe\x00\x7e\0\0\0\0", 1002, id="long-ping"),
    ],
)
async def test_a_broken_frame_closes_the_websocket(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, frame: bytes, code: int
) -> None:
    """With the code that RFC 6455, section 7.4.1, has for it; nothing is waited for then."""
    async with serving(echo) as server:
        websocket = await server.connect().upgrade()
        await websocket.stream.send_all(frame)
        await websocket.stream.send_all(frame)
        close = await websocket.next()
        assert isinstance(close, CloseConnection)
        assert close.code == code
        assert await websocket.next() is None
        assert trio.current_time() == 0
    assert not caplog.records


async def test_what_follows_a_close_frame_counts_for_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """wsproto would raise."""
    async with serving(echo) as server:
        websocket = await server.connect().upgrade()
        close = websocket.frames.send(CloseConnection(code=1000))
        await websocket.stream.send_all(close + b"\x81\x81\0\0\0\0x" * 3)
        assert await websocket.next() == CloseConnection(code=1000, reason="")
        assert await websocket.next() is None
    assert not caplog.records


async def test_pings_are_answered(autojump_clock: MockClock) -> None:
    """With what they brought."""
    async with serving(echo) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(Ping(b"abc"))
        assert await websocket.next() == Pong(b"abc")


async def test_a_client_that_answers_pings_stays(autojump_clock: MockClock) -> None:
    """One that stops to do so is dropped an interval later; other pongs are no answer."""
    async with serving(echo, ping_interval=20) as server:
        websocket = await server.connect().upgrade()
        for round_ in range(1, 6):
            ping = await websocket.next()
            assert isinstance(ping, Ping)
            assert trio.current_time() == round_ * 20
            await websocket.send(ping.response())
        assert isinstance(await websocket.next(), Ping)
        await websocket.send(Pong(b"unasked"))
        assert await websocket.next() is None
        assert trio.current_time() == 7 * 20


async def test_pings_end_with_the_websocket(autojump_clock: MockClock) -> None:
    """They do not keep the connection's tasks alive."""
    async with serving(echo, ping_interval=1000) as server:
        websocket = await server.connect().upgrade()
        await websocket.send(CloseConnection(code=1000))
        assert isinstance(await websocket.next(), CloseConnection)
        assert await websocket.next() is None
        await trio.sleep(1)
        server.stop.set()
    assert trio.current_time() == 1


async def test_a_handler_that_does_not_read_learns_that_its_client_is_gone(
    autojump_clock: MockClock,
) -> None:
    """Unread messages block hypercorn's news of it for ever."""
    ends = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        try:
            await trio.sleep_forever()
        finally:
            ends.append(trio.current_time())

    async with serving(app, ping_interval=20, graceful_timeout=3) as server:
        websocket = await server.connect().upgrade()
        for _ in range(50):
            await websocket.send(TextMessage("x"))
        await websocket.stream.aclose()
        await trio.sleep(1000)
    assert ends == [20 + 3]


async def test_unread_messages_do_not_keep_a_close_waiting(autojump_clock: MockClock) -> None:
    """A handler that closes wants no more of them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await trio.sleep(1)
        await send({"type": "websocket.close", "code": 1000})

    async with serving(app) as server:
        websocket = await server.connect().upgrade()
        for _ in range(50):
            await websocket.send(TextMessage("x"))
        assert await websocket.next() == CloseConnection(code=1000, reason="")
        await websocket.send(CloseConnection(code=1000))
        assert await websocket.next() is None
    assert trio.current_time() == 1


async def test_a_reader_that_stops_is_given_up(autojump_clock: MockClock) -> None:
    """A write has a deadline, whatever shields it."""
    ends = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        try:
            while True:
                await send({"type": "websocket.send", "text": "x"})
        finally:
            ends.append(trio.current_time())

    async with serving(app, send_timeout=10, graceful_timeout=3) as server:
        await server.connect(lockstep=True).upgrade()
        await trio.sleep(1000)
    assert ends == [10 + 3]


async def test_a_send_that_is_cancelled_leaves_no_half_of_a_frame(
    autojump_clock: MockClock,
) -> None:
    """A frame goes out as a whole, or not at all."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with trio.move_on_after(1):
            await send({"type": "websocket.send", "text": "x" * 1000})
        await send({"type": "websocket.close", "code": 1000})

    async with serving(app, send_timeout=10) as server:
        websocket = await server.connect(lockstep=True).upgrade()
        await trio.sleep(2)
        received = b""
        while len(received) < 1004 + 4:
            piece = await websocket.stream.receive_some(100)
            assert piece, received
            received += piece
        assert received == b"\x81\x7e\x03\xe8" + b"x" * 1000 + b"\x88\x02\x03\xe8"
        await websocket.send(CloseConnection(code=1000))


async def test_a_plain_request_is_no_websocket(autojump_clock: MockClock) -> None:
    """Neither is one that upgrades by another method, or to something else."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, scope["type"].encode())

    async with serving(app) as server:
        for data in (
            upgrade_with(b"GET", b"PUT"),
            upgrade_with(b"Upgrade: websocket", b"Upgrade: tls"),
            upgrade_with(b"Connection: Upgrade", b"Connection: close"),
        ):
            client = server.connect()
            await client.send(data)
            assert b"\r\n\r\nhttp" in await client.stream.receive_some(10000)
