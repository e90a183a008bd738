"""Hostile inputs, one after the other, against one server."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from hypothesis import given, settings, strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.middleware.stack import open_middleware
from smartmob_agent.http.middleware.traffic import Traffic
from tests.api.asgi import open_site
from tests.http.hostile import CHUNKED, GET, INPUTS, OPEN, POST, SOCKET
from tests.http.memory import Server, serving


def status_of(data: bytes) -> int:
    """The status of the first answer; 0 for none."""
    return int(data[9:12]) if data.startswith(b"HTTP/1.1 ") else 0


async def throw(server: Server, data: bytes, *, pieces: int) -> bytes:
    """Send data, in pieces of a size; return what comes until nothing more happens."""
    client = server.connect(host="127.0.0.1")
    received = b""

    async def receive() -> None:
        nonlocal received
        received = await client.rest()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        with contextlib.suppress(trio.BrokenResourceError):
            for start in range(0, len(data), pieces):
                await client.send(data[start : start + pieces])
        await wait_all_tasks_blocked()
        await client.stream.send_stream.aclose()
    await client.stream.aclose()
    return received


async def index_of(server: Server) -> int:
    """Get the index by a new connection; return the status."""
    client = server.connect(host="127.0.0.1")
    await client.send(GET + b"Connection: close\r\n\r\n")
    return status_of(await client.rest())


@asynccontextmanager
async def agent_in_memory() -> AsyncIterator[Server]:
    """The agent's API with one process, behind its gate; all but the server are fakes."""
    async with open_site() as site:
        assert (await site.create()).status_code == 201
        app = open_middleware(AgentConfig()).wrap(site.app, Traffic())
        async with serving(app) as server:
            yield server


@pytest.mark.slow
@pytest.mark.parametrize("pieces", [100_000, 997])
async def test_the_server_goes_on_after_each_hostile_input(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, pieces: int
) -> None:
    """Each gets the answer that it deserves; nothing raises, and nothing is left of it."""
    caplog.set_level(logging.WARNING)
    assert len(INPUTS) >= 100
    async with agent_in_memory() as server:
        await wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        wrong = []
        for meaning, status, data in INPUTS:
            found = (status_of(await throw(server, data, pieces=pieces)), await index_of(server))
            if found != (status, 200):
                wrong.append((meaning, status, found))
        assert wrong == []
        await trio.sleep(10)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert not caplog.records


LINES = [b"\r\n", b"\r\n\r\n", b": ", b"GET / HTTP/1.1\r\n", GET, POST, CHUNKED, OPEN, SOCKET]
FRAGMENTS = [data for _, _, data in INPUTS if 0 < len(data) < 400]
PIECES = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=40), st.sampled_from(LINES)),
    max_size=6,
)


@contextlib.contextmanager
def logged_errors() -> Iterator[list[str]]:
    """Collect what the server logs as an error."""
    errors: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("smartmob_agent")
    log.addHandler(handler)
    try:
        yield errors
    finally:
        log.removeHandler(handler)


async def fuzz(pieces: list[bytes], cuts: list[int]) -> None:
    """Throw the pieces at a server, cut anew; it must answer afterwards, and come to its end."""
    data = b"".join(pieces)
    async with agent_in_memory() as server:
        await throw(server, data, pieces=max(1, *cuts))
        assert await index_of(server) == 200


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True)
@given(pieces=PIECES, cuts=st.lists(st.integers(1, 300), min_size=1, max_size=2))
def test_the_server_goes_on_after_any_bytes(pieces: list[bytes], cuts: list[int]) -> None:
    """Parts of requests, frames and noise, in any order; no error, no hang, no task left."""
    with logged_errors() as errors:
        clock = MockClock(autojump_threshold=0)
        trio.run(partial(fuzz, pieces, cuts), clock=clock)
    assert errors == []
