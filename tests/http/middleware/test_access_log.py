"""The log of requests."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from smartmob_agent.http.asgi import Receive, Scope, Send
from smartmob_agent.http.middleware.access_log import log_requests
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.http.problems import send_problem
from tests.api.asking import Recorder, ask

FIELDS = ("method", "path", "status", "duration", "bytes", "request_id", "peer")


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    return [tuple(vars(record)[name] for name in FIELDS) for record in caplog.records]


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


async def test_a_request_is_one_event(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The query is not told; the path is as it was sent, without new lines."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep(1.5)
        await Recorder()(scope, receive, send)

    raw = {"raw_path": b"/a%0Ab", "request_id": "x1"}
    await ask(log_requests(app, Traffic()), "http", "/a\nb", **raw)
    assert logged(caplog) == [("GET", "/a%0Ab", 200, 1.5, 5, "x1", "10.0.0.1")]


async def test_a_websocket_is_one_request(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """With what was sent by it."""
    await ask(log_requests(Recorder(), Traffic()), "websocket", client=None)
    assert logged(caplog) == [("GET", "/", 101, 0, 2 + 3 + 5, None, "unix")]


async def test_a_refused_websocket_has_the_status_of_the_answer(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """And its length."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send_problem(scope, send, 404, "no")

    answer = await ask(log_requests(app, Traffic()), "websocket")
    length = int(answer.headers[b"content-length"])
    assert logged(caplog)[0][2:5] == (404, 0, length)


async def test_a_request_that_fails_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a status, as it had no answer from here."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        await ask(log_requests(app, Traffic()))
    assert logged(caplog)[0][2] is None


async def test_health_checks_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """They come too often; what is no request is not logged either."""
    for kind, path in (("http", "/health"), ("http", "/metrics"), ("lifespan", "/")):
        app = log_requests(Recorder(), Traffic(), quiet_paths={"/health", "/metrics"})
        await ask(app, kind, path)
    assert logged(caplog) == []


async def test_what_is_written_straight_to_the_socket_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    extensions: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        extensions["smartmob.write_now"] = lambda frames: len(frames) - 1  # the last must wait
        await send({"type": "websocket.accept"})
        extensions["smartmob.write_now"]([b"12", b"34", b"567"])
        await send({"type": "websocket.send.frames", "frames": b"5"})

    await ask(log_requests(app, Traffic()), "websocket", extensions=extensions)
    assert caplog.records[-1].__dict__["bytes"] == 5


async def test_all_requests_are_counted_also_those_that_are_not_logged(
    autojump_clock: MockClock,
) -> None:
    traffic = Traffic()
    traffic.add_routes(["/health", "/attach/<slug>"])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(0.25)
        await Recorder()(scope, receive, send)
        assert traffic.attached == ({"a": 1} if scope["type"] == "websocket" else {})
        assert sum(traffic.open.values()) == 1

    await ask(log_requests(app, traffic), "http", "/health")
    await ask(log_requests(app, traffic), "websocket", "/attach/a")
    assert {key: found.now.total for key, found in traffic.requests.items()} == {
        ("/health", "GET", "200"): 0.25,
        ("/attach/<slug>", "GET", "101"): 0.25,
    }
    assert traffic.attached == {}
