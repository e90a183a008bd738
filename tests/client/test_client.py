"""The client and an agent, by real sockets; the children are fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from smartmob_agent import AgentConfig
from smartmob_agent.client import (
    AddressError,
    BadAnswerError,
    BusyError,
    Client,
    ConflictError,
    ConnectionLostError,
    Exit,
    InternalError,
    InvalidRequestError,
    Line,
    NoSuchProcessError,
    RefusedError,
    UnreachableError,
    Upload,
    open_client,
)
from smartmob_agent.client.address import parse_address
from smartmob_agent.client.transport import open_transport
from tests.client.agent import CREATE, LIMIT, open_world, raw_server

SLUG = "hello.web.0"
NOTHING_LISTENS = "http://127.0.0.1:1"


async def ask(client: Client) -> object:
    return await client.list_processes()


async def follow(client: Client) -> object:
    return await client.log(SLUG, follow=True).receive()


async def attach(client: Client) -> object:
    return await client.attach(SLUG).receive()


CALLS = pytest.mark.parametrize("call", [ask, follow, attach])
Call = Callable[[Client], Awaitable[object]]


async def test_a_process_is_created_seen_and_deleted() -> None:
    async with open_world() as world, open_client(world.url) as client:
        created = await client.create(**CREATE, env={"A": "1"})
        assert (created.slug, created.state, created.exit) == (SLUG, "pending", None)
        child = await world.spawner.next_child()
        assert child.command.env["A"] == "1"
        status = await client.status(SLUG)
        assert (status.state, status.pid) == ("running", child.pid)
        child.exit(3)
        await world.spawner.next_child()
        assert (await client.status(SLUG)).exit == Exit(code=3)
        assert [process.slug for process in await client.list_processes()] == [SLUG]
        await client.delete(SLUG)
        assert await client.list_processes() == []


async def test_lines_come_live_and_until_the_end() -> None:
    async with open_world() as world, open_client(world.url) as client:
        await client.create(**CREATE)
        child = await world.spawner.next_child()
        child.write(b"before\n")
        async with client.attach(SLUG) as live, client.records(SLUG, tail=9) as all_of_it:
            while not isinstance(record := await all_of_it.receive(), Line):
                pass
            assert record.text == "before"
            child.write_error(b"after\n")
            line = await live.receive()
            assert (line.seq, line.stream, line.text) == (2, "stderr", "after")
            await client.delete(SLUG)
            assert [str(line) async for line in live] == []
            assert live.end == "process"


@pytest.mark.parametrize(
    ("form", "beginning"), [("text", b"one\ntwo\n"), ("ndjson", b'{"event": "started"')]
)
async def test_a_log_comes_in_one_piece_and_goes_on(form: str, beginning: bytes) -> None:
    async with open_world() as world, open_client(world.url) as client:
        await client.create(**CREATE)
        child = await world.spawner.next_child()
        async with client.attach(SLUG, tail=1) as lines:
            child.write(b"one\ntwo\n")
            await lines.receive()
        assert [p.data.startswith(beginning) async for p in client.log(SLUG, form=form)] == [True]
        async with client.log(SLUG, form=form, follow=True, after=1) as log:
            assert b"two" in (await log.receive()).data
            child.write(b"three\n")
            assert b"three" in (await log.receive()).data


async def test_a_version_takes_the_place_of_another() -> None:
    """Or does not: then the error says where it failed."""
    async with open_world() as world, open_client(world.url) as client:
        await client.create(**CREATE)
        wish = {"process_type": "web", "source_url": CREATE["source_url"], "ready": {"after": 0}}
        replaced = await client.replace(SLUG, wish)
        assert (replaced.pid, replaced.port, replaced.release) == (1001, 20001, None)
        with pytest.raises(ConflictError, match="processing failed: expected one of") as caught:
            await client.replace(SLUG, {**wish, "process_type": "nothing"})
        assert caught.value.document["step"] == "processing"


async def test_an_archive_is_sent_with_its_length(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"an archive")
    told: list[tuple[int, int]] = []
    document = b'{"source_url": "smartmob:sha256:5e", "sha256": "5e", "size": 10, "more": 1}'
    answer = f"HTTP/1.1 201 Created\r\nContent-Length: {len(document)}\r\n\r\n".encode()
    async with raw_server(answer + document) as url, open_client(url) as client:
        upload = await client.upload(path, progress=lambda sent, size: told.append((sent, size)))
    assert upload == Upload(source_url="smartmob:sha256:5e", sha256="5e", size=10)
    assert told == [(10, 10)]


async def test_what_the_agent_refuses_is_an_error_of_its_own() -> None:
    async with open_world() as world, open_client(world.url) as client:
        await client.create(**CREATE)
        with pytest.raises(ConflictError, match=r"'hello\.web\.0' exists: delete it first"):
            await client.create(**CREATE)
        with pytest.raises(InvalidRequestError) as caught:
            await client.create(app="a/b", node="", process_type="web", source_url="x")
        assert len(caught.value.errors) == 3
        assert caught.value.request_id
        for call in (client.status, client.delete):
            with pytest.raises(NoSuchProcessError, match=r"no process has the slug 'nobody\?'"):
                await call("nobody?")
        with pytest.raises(InvalidRequestError, match="after"):
            await client.attach(SLUG, after=99).receive()
        with pytest.raises(NoSuchProcessError):
            await client.attach("nobody").receive()


@pytest.mark.parametrize("slug", ["", ".", "..", "a/b", "x\n", "ä"])
async def test_what_is_no_slug_names_no_process(slug: str) -> None:
    """Nor does it make another request of the one that was meant: the agent is not asked."""
    async with open_client(NOTHING_LISTENS) as client:
        signal = partial(client.send_signal, signal="HUP")
        calls = [
            partial(call, slug)
            for call in (
                client.status,
                client.delete,
                client.restart,
                signal,
                partial(client.replace, request={}),
            )
        ]
        for call in [*calls, client.log(slug).receive, client.attach(slug).receive]:
            with pytest.raises(NoSuchProcessError, match="no process has the slug"):
                await call()


def problem(status: int, document: bytes) -> bytes:
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/problem+json\r\n"
    return f"{head}Content-Length: {len(document)}\r\n\r\n".encode() + document


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", BadAnswerError, "expected JSON"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", BadAnswerError, "found HTTP 302"),
        (problem(500, b"[]"), BadAnswerError, "found HTTP 500"),
        (b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n", UnreachableError, "a proxy does not"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", UnreachableError, "a proxy does not"),
        (problem(503, b'{"detail": "stopping"}'), BusyError, "stopping"),
        (problem(500, b'{"title": "a defect"}'), InternalError, "a defect"),
        (problem(418, b"{}"), RefusedError, "HTTP 418"),
        (b"SSH-2.0-OpenSSH\r\n", ConnectionLostError, "lost the connection"),
        (b"", ConnectionLostError, "lost the connection to the agent at http"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", ConnectionLostError, "lost the"),
    ],
)
async def test_what_is_no_answer_of_an_agent_is_told(
    answer: bytes, error: type[Exception], message: str
) -> None:
    async with raw_server(answer) as url, open_client(url) as client:
        with pytest.raises(error, match=message):
            await client.list_processes()


@CALLS
async def test_nobody_there_is_told(call: Call) -> None:
    async with open_client(NOTHING_LISTENS) as client:
        with pytest.raises(UnreachableError, match=f"{NOTHING_LISTENS}: connection refused$"):
            await call(client)


async def test_no_answer_in_time_is_a_lost_connection() -> None:
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with listener, open_client(url, timeout=0.01) as client:
            with pytest.raises(ConnectionLostError, match="no answer in time from the agent"):
                await client.list_processes()
        nursery.cancel_scope.cancel()


async def test_a_url_that_is_none_is_told_before_anything_else() -> None:
    with pytest.raises(AddressError):
        async with open_client("agent"):
            pass


@CALLS
async def test_an_agent_is_reached_by_a_unix_socket(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    config = AgentConfig(port=0, unix=path, stop_timeout=0)
    async with open_world(config) as world, open_client(f"unix:{path}") as client:
        await client.create(**CREATE)
        child = await world.spawner.next_child()
        child.write(b"line\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, client)
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        async with client.attach(SLUG, tail=1) as lines:
            assert str(await lines.receive()) == "line"


async def test_a_unix_socket_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with open_client(f"unix:{tmp_path}/none") as client:
        for call in (ask, attach):
            with pytest.raises(UnreachableError, match=r"/none: no such file or directory$"):
                await call(client)


@pytest.mark.parametrize(
    ("host", "error", "message"),
    [
        ("a" * 64, UnreachableError, "no host has such a name$"),
        ("a\x01", BadAnswerError, "expected an agent at http://a\x01: Invalid"),
    ],
)
async def test_a_name_that_no_host_can_have_is_told(
    host: str, error: type[Exception], message: str
) -> None:
    async with open_client(f"http://{host}") as client:
        with pytest.raises(error, match=message):
            await client.list_processes()


@pytest.mark.parametrize("token", ["", "two words", "tōken", "a\r\nb"])
async def test_a_token_that_cannot_be_sent_is_told(token: str) -> None:
    with pytest.raises(AddressError, match="expected a token of visible ASCII characters"):
        async with open_client(NOTHING_LISTENS, token=token):
            pass


async def test_an_answer_may_be_left_where_it_is() -> None:
    """All of its generators have ended then: a warning would fail this test."""
    chunks = b"4\r\nsome\r\n4\r\nmore\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    async with raw_server(answer) as url:
        address = parse_address(url)
        async with open_transport(address, token=None, tls=None, timeout=LIMIT) as transport:
            for _ in range(2):
                async with transport.stream("GET", "/") as streamed:
                    assert await anext(streamed.parts) == b"some"


async def test_an_error_of_the_caller_comes_out_as_it_is() -> None:
    """The tasks of a client are no concern of its caller."""
    with pytest.raises(ZeroDivisionError):
        async with open_client(NOTHING_LISTENS):
            raise ZeroDivisionError
