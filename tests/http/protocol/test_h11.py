"""HTTP/1.1 on the virtual clock: what is taken, what is refused, and how long it may take."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from smartmob_agent.http.extensions import get_client_link
from tests.http.memory import Client, answer, hello, serving

POST = b"POST / HTTP/1.1\r\nHost: agent\r\n"


async def statuses(client: Client) -> list[int]:
    """Read until the server closes; return the status of each answer."""
    data = await client.rest()
    return [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]


async def test_two_requests_on_one_connection(autojump_clock: MockClock) -> None:
    """A connection is kept alive."""
    async with serving(hello) as server:
        client = server.connect()
        bodies = [(await client.request())[1], (await client.request())[1]]
        assert bodies == [b"hello ", b"hello "]


async def test_pipelined_requests_are_answered_in_order(autojump_clock: MockClock) -> None:
    """The second waits for the answer to the first."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1)
        await answer(send, scope["path"].encode())

    async with serving(app) as server:
        client = server.connect()
        await client.send(
            b"GET /1 HTTP/1.1\r\nHost: agent\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
        )
        data = await client.rest()
        assert data.index(b"\r\n\r\n/1") < data.index(b"\r\n\r\n/2")
        await client.stream.aclose()
    assert trio.current_time() == 2


async def test_a_pipelined_request_after_the_last_answer_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    """hypercorn's reader would wait for ever for a connection that has ended."""
    async with serving(hello, linger_timeout=2, graceful_timeout=3) as server:
        client = server.connect()
        await client.send(
            b"GET /1 HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
            b"GET /2 HTTP/1.1\r\nHost: agent\r\n\r\n"
        )
        assert await statuses(client) == [200]
    assert trio.current_time() == 2


async def test_who_said_that_a_request_was_its_last_may_go_on_talking(
    autojump_clock: MockClock,
) -> None:
    """It counts for nothing, and is not kept."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1)
        await answer(send, b"done")

    async with serving(app) as server:
        client = server.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
        for _ in range(3):
            await wait_all_tasks_blocked()
            await client.send(b"GET / HTTP/1.1\r\n\r\n" * 1000)
        assert (await client.rest()).endswith(b"\r\n\r\ndone")


async def test_a_malformed_request_gets_a_problem_document(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer has an id, and ends the connection; the log does not grow."""
    async with serving(hello) as server:
        client = server.connect()
        await client.send(b"PO ST / HTTP/1.1\r\n\r\n")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers: dict[str, str] = dict(line.split(": ", 1) for line in lines[1:])
        assert lines[0] == "HTTP/1.1 400 Bad Request"
        assert uuid.UUID(headers["x-request-id"]).version == 4
        assert headers["connection"] == "close"
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["status"] == 400
    assert not caplog.records


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505, id="version"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, id="http2-preface"),
        pytest.param(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="asterisk"),
        pytest.param(b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="fragment"),
        pytest.param(b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="absolute"),
        pytest.param(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="connect"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, id="host"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no-host"),
        pytest.param(POST + b"Content-Length: 1048577\r\n\r\n", 413, id="length"),
        pytest.param(
            POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            id="two-lengths",
        ),
        pytest.param(
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            id="chunked-1.0",
        ),
        pytest.param(POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, id="gzip"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, id="bad-chunk"),
        pytest.param(b"HEAD / HTTP/3.0\r\nHost: a\r\n\r\n", 505, id="head"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 15000 + b"\r\n\r\n", 200, id="large"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 16384 + b"\r\n\r\n", 431, id="too-large"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000, 431, id="much-too-large"
        ),
    ],
)
async def test_the_status_of_a_request_that_is_not_as_it_should_be(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, data: bytes, status: int
) -> None:
    """However it arrives; afterwards the server is as it was."""
    async with serving(hello) as server:
        for size in (len(data), 1000):
            client = server.connect()
            for start in range(0, len(data), size):
                await client.send(data[start : start + size])
                await wait_all_tasks_blocked()
            assert await statuses(client) == [status]
        assert (await server.connect().request())[1] == b"hello "
    assert not caplog.records


async def test_the_host_of_an_absolute_target_counts(autojump_clock: MockClock) -> None:
    """RFC 9112, section 3.2.2."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        await answer(send, scope["raw_path"] + b" " + b",".join(hosts))

    async with serving(app) as server:
        _, body = await server.connect().request("HTTP://example.org:80?a=b")
        assert body == b"/ example.org:80"


async def test_http_2_is_not_upgraded_to(autojump_clock: MockClock) -> None:
    """The offer is ignored."""
    async with serving(hello) as server:
        response, _ = await server.connect().request(
            upgrade="h2c", connection="Upgrade, HTTP2-Settings", http2_settings=""
        )
        assert response.status_code == 200


async def test_an_idle_connection_is_closed_after_the_header_timeout(
    autojump_clock: MockClock,
) -> None:
    """Without a word, since nothing was asked."""
    async with serving(hello, header_timeout=7) as server:
        client = server.connect()
        await client.request()
        assert await client.rest() == b""
        assert trio.current_time() == 7


async def test_headers_that_trickle_are_a_time_out(autojump_clock: MockClock) -> None:
    """Each byte does not begin the time anew."""
    async with serving(hello, header_timeout=7) as server:
        client = server.connect()
        await trio.sleep(5)
        for byte in b"GET / ":
            await client.send(bytes([byte]))
            await trio.sleep(1)
        assert await statuses(client) == [408]
        assert trio.current_time() == 5 + 7


async def test_a_body_that_trickles_is_a_time_out(autojump_clock: MockClock) -> None:
    """The handler learns that its client is gone."""
    messages = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            messages.append(message["body"])
        messages.append(message["type"])
        await answer(send, b"nobody reads this")

    async with serving(app, body_timeout=9) as server:
        client = server.connect()
        await client.send(POST + b"Content-Length: 100\r\n\r\n")
        await trio.sleep(8)
        await client.send(b"a")
        assert await statuses(client) == [408]
        assert (messages, trio.current_time()) == ([b"a", "http.disconnect"], 9)


async def test_a_slow_handler_is_not_a_slow_body(autojump_clock: MockClock) -> None:
    """The time ends with the body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1000)
        await answer(send, b"done")

    async with serving(app) as server:
        assert (await server.connect().request())[1] == b"done"


async def test_a_body_of_unknown_length_is_counted(autojump_clock: MockClock) -> None:
    """Its handler learns that its client is gone."""
    received = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            received.append(len(message["body"]))

    async with serving(app, body_bytes=1000) as server:
        client = server.connect()
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await client.send(b"190\r\n" + b"x" * 400 + b"\r\n")
            await wait_all_tasks_blocked()
        assert await statuses(client) == [413]
    assert received == [400, 400]


async def test_an_answer_that_has_begun_is_cut_when_the_body_is_too_long(
    autojump_clock: MockClock,
) -> None:
    """It is too late for a 413."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        while (await receive())["type"] == "http.request":
            pass

    async with serving(app, body_bytes=10) as server:
        client = server.connect()
        await client.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        await wait_all_tasks_blocked()
        await client.send(b"b\r\n" + b"x" * 11 + b"\r\n")
        data = await client.rest()
        assert data.startswith(b"HTTP/1.1 200 ")
        assert data.endswith(b"\r\nso far\r\n")


async def test_an_early_answer_to_a_long_body_arrives(autojump_clock: MockClock) -> None:
    """What the peer still sends is read, for a while, lest a reset destroys the answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", 404)

    async with serving(app, linger_timeout=2) as server:
        client = server.connect()
        await client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 200_000)
        response, body = await client.response()
        assert (response.status_code, body) == (404, b"no")
        assert (b"connection", b"close") in response.headers
        await client.send(b"x" * 200_000)
        assert await client.rest() == b""
        assert trio.current_time() == 0
        await trio.sleep(2)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await client.send(b"x")


async def test_continue_is_sent_for_who_waits_for_it(autojump_clock: MockClock) -> None:
    """RFC 9110, section 10.1.1."""
    async with serving(hello) as server:
        client = server.connect()
        await client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await client.stream.receive_some(100)).startswith(b"HTTP/1.1 100 ")
        await client.send(b"world")
        assert (await client.response())[1] == b"hello world"


async def test_who_waits_for_continue_gets_the_answer_instead_if_nobody_reads(
    autojump_clock: MockClock,
) -> None:
    """It need not send a body that nobody wants."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"no", 403)

    async with serving(app) as server:
        client = server.connect()
        await client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert await statuses(client) == [403]


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(
    autojump_clock: MockClock,
) -> None:
    """Who waits for a 100 gets the 413 instead."""
    async with serving(hello, body_bytes=4) as server:
        client = server.connect()
        await client.send(POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert await statuses(client) == [413]


async def test_the_answer_to_head_has_no_body(autojump_clock: MockClock) -> None:
    """Its length is that of the body all the same."""
    async with serving(hello) as server:
        client = server.connect()
        await client.send(b"HEAD / HTTP/1.0\r\n\r\n")
        data = await client.rest()
        assert b"\r\ncontent-length: 6\r\n" in data
        assert data.endswith(b"\r\n\r\n")


async def test_an_answer_is_one_write(autojump_clock: MockClock) -> None:
    """The head waits for the first piece of the body."""
    async with serving(hello) as server:
        client = server.connect(lockstep=True)
        await client.send(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
        assert (await client.stream.receive_some(10000)).endswith(b"\r\n\r\nhello ")


async def test_an_answer_in_pieces_arrives_in_pieces(autojump_clock: MockClock) -> None:
    """A stream is not collected; its head comes at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(3):
            await trio.sleep(1)
            await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        await send({"type": "http.response.body"})

    async with serving(app) as server:
        client = server.connect()
        await client.send(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
        pieces = [(await client.stream.receive_some(10000), trio.current_time()) for _ in range(3)]
        assert pieces[0][0].startswith(b"HTTP/1.1 200 ")
        assert pieces[1:] == [(b"1\r\n0\r\n", 1), (b"1\r\n1\r\n", 2)]
        assert pieces[0][1] == 0


@pytest.mark.parametrize("begin", [False, True])
async def test_a_handler_that_fails_is_a_500_or_a_cut_answer(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, *, begin: bool
) -> None:
    """Logged once, with the address of the client; others are served."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/":
            await hello(scope, receive, send)
        if begin:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        raise ValueError("a defect")

    async with serving(app) as server:
        client = server.connect()
        await client.send(b"GET /fail HTTP/1.1\r\nHost: agent\r\n\r\n")
        data = await client.rest()
        assert data.startswith(b"HTTP/1.1 200 " if begin else b"HTTP/1.1 500 ")
        assert not data.endswith(b"\r\n0\r\n\r\n")
        logged = [(r.getMessage(), vars(r)["peer"]) for r in caplog.records]
        assert logged == [("handler failed", "10.0.0.1:4711")]


async def test_what_the_application_sends_after_its_answer_is_dropped(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An endless loop of it does not keep the agent busy, and is ended."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"done")
        while True:
            await send({"type": "http.response.body", "body": b"more"})

    async with serving(app, graceful_timeout=0.0) as server:
        assert (await server.connect().request())[1] == b"done"
    assert not caplog.records


async def test_the_application_knows_its_client(autojump_clock: MockClock) -> None:
    """And can cut it off."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        get_client_link(scope).abort()

    async with serving(app) as server:
        client = server.connect()
        await client.send(b"GET /a%20b?c HTTP/1.1\r\nHost: agent\r\n\r\n")
        assert await client.rest() == b""
    seen = {key: scopes[0][key] for key in ("client", "server", "path", "query_string", "scheme")}
    assert seen == {
        "client": ("10.0.0.1", 4711),
        "server": ("127.0.0.1", 8080),
        "path": "/a b",
        "query_string": b"c",
        "scheme": "http",
    }


async def test_a_client_that_leaves_is_reported_to_its_handler(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that does not listen is cancelled after the graceful timeout."""
    caplog.set_level(logging.INFO)
    ends: dict[str, float] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            if scope["path"] == "/listen":
                while (await receive())["type"] != "http.disconnect":
                    pass
            else:
                await trio.sleep_forever()
        finally:
            ends[scope["path"]] = trio.current_time()

    async with serving(app, graceful_timeout=3) as server:
        for path in (b"/listen", b"/ignore"):
            client = server.connect()
            await client.send(b"GET " + path + b" HTTP/1.1\r\nHost: agent\r\n\r\n")
            await wait_all_tasks_blocked()
            await client.stream.aclose()
        await trio.sleep(10)
    assert ends == {"/listen": 0, "/ignore": 3}
    assert not caplog.records


async def test_a_reader_that_lags_is_kept_and_one_that_stops_is_not(
    autojump_clock: MockClock,
) -> None:
    """The deadline of a write is for 64 KiB of it."""
    body = b"x" * 300_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, body)

    async with serving(app, send_timeout=10, graceful_timeout=3) as server:
        client = server.connect(lockstep=True)
        await client.send(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
        received = 0
        while received < len(body):
            await trio.sleep(9)
            received += len(await client.stream.receive_some(64 * 1024))
        client = server.connect(lockstep=True)
        await client.send(b"GET / HTTP/1.1\r\nHost: agent\r\n\r\n")
        await client.stream.receive_some(1000)
        started = trio.current_time()
        server.stop.set()
    assert trio.current_time() == started + 3
