"""Requests that are meant for this agent, and others."""

from __future__ import annotations

import pytest

from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.http.middleware.trusted_hosts import check_trusted_hosts
from tests.api.asking import Recorder, ask

CONFIG = AgentConfig(
    host="10.9.9.9",
    public_url="https://Agent.example.org/base",
    security=Security(allow_hosts=("box.lan", "box.lan:99")),
)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:1234",
        "localhost.",
        "127.0.0.1:8080",
        "127.1.2.3",
        "[::1]:8080",
        "10.9.9.9",
        "192.0.2.1:80",
        "agent.example.org",
        "box.lan:8080",
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_name_of_the_agent_is_let_in(kind: str, host: str) -> None:
    """Its own addresses, loopback, the public one, and what was allowed."""
    answer = await ask(check_trusted_hosts(Recorder(), CONFIG), kind, headers={"host": host})
    assert answer.status == (200 if kind == "http" else 101)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.9.9.8", "1::2", "[::2]", "", "127"]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_another_name_is_refused(kind: str, host: str) -> None:
    """As one that DNS rebinding brings here."""
    app = Recorder()
    answer = await ask(check_trusted_hosts(app, CONFIG), kind, headers={"host": host})
    assert (answer.status, answer.document["status"], app.scopes) == (403, 403, [])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8080", "origin": "http://localhost:8080"}, 200),
        ({"host": "localhost", "origin": "http://localhost:80"}, 200),
        ({"host": "localhost:443", "origin": "https://localhost"}, 200),
        ({"host": "localhost", "origin": "https://agent.example.org"}, 200),
        ({"host": "localhost:8080", "origin": "http://localhost:3000"}, 403),
        ({"host": "localhost", "origin": "http://evil.example"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
        ({"host": "localhost", "origin": "file://localhost"}, 403),
        ({"host": "localhost", "origin": "http://["}, 403),
        ({"origin": "http://evil.example"}, 403),
    ],
)
async def test_an_origin_must_be_the_own_one(headers: dict[str, str], status: int) -> None:
    """Another port is another origin; no origin is fine."""
    answer = await ask(check_trusted_hosts(Recorder(), CONFIG), headers=headers)
    assert answer.status == status


@pytest.mark.parametrize(("origin", "status"), [({}, 200), ({"origin": "http://x"}, 403)])
async def test_at_a_unix_socket_any_host_will_do(origin: dict[str, str], status: int) -> None:
    """A proxy in front of it may still bring the request of a foreign page."""
    headers = {"host": "whatever", **origin}
    answer = await ask(
        check_trusted_hosts(Recorder(), AgentConfig()), headers=headers, server=None, client=None
    )
    assert answer.status == status


async def test_other_scopes_pass() -> None:
    """There is nothing to check."""
    app = Recorder()
    await ask(check_trusted_hosts(app, CONFIG), "lifespan")
    assert [scope["type"] for scope in app.scopes] == ["lifespan"]


@pytest.mark.parametrize(
    ("kind", "path", "headers", "status"),
    [
        ("http", "/health", {"host": "evil.example"}, 200),
        ("http", "/health", {"host": ""}, 200),
        ("http", "/health", {}, 200),
        ("http", "/health", {"host": "evil.example", "origin": "http://other.example"}, 403),
        ("http", "/health/", {"host": "evil.example"}, 403),
        ("http", "/", {"host": "evil.example"}, 403),
        ("websocket", "/health", {"host": "evil.example"}, 403),
    ],
)
async def test_some_paths_answer_under_any_name(
    kind: str, path: str, headers: dict[str, str], status: int
) -> None:
    """A load balancer asks by address, by a name of its own, or by none; no page of a browser."""
    app = check_trusted_hosts(Recorder(), CONFIG, {"/health"})
    assert (await ask(app, kind, path=path, headers=headers)).status == status
