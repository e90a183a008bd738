"""Bearer tokens."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from smartmob_agent.http.asgi import App
from smartmob_agent.http.middleware.authentication import (
    FailureLimit,
    Tokens,
    ignore_tokens,
    require_token,
)
from tests.api.asking import Recorder, ask

TOKEN = "correct-horse-battery"


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def app(tmp_path: Path, recorder: Recorder) -> App:
    path = tmp_path / "tokens"
    path.write_text(TOKEN)
    path.chmod(0o600)
    open_paths = {"/health", "/ready"}
    return require_token(recorder, Tokens(path), FailureLimit(3), open_paths)


def bearer(token: str) -> dict[str, str]:
    return {"host": "localhost", "authorization": f"Bearer {token}"}


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_token_lets_in(app: App, recorder: Recorder, kind: str) -> None:
    """It goes no further."""
    answer = await ask(app, kind, headers=bearer(TOKEN))
    assert answer.status < 300
    assert recorder.scopes[0]["headers"] == [(b"host", b"localhost")]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, b'Bearer realm="smartmob-agent"'),
        ({"authorization": "Basic eDp5"}, b'Bearer realm="smartmob-agent"'),
        (bearer("x" * 20), b'Bearer realm="smartmob-agent", error="invalid_token"'),
        (bearer(TOKEN + "x"), b'Bearer realm="smartmob-agent", error="invalid_token"'),
        (bearer("\u00e9"), b'Bearer realm="smartmob-agent", error="invalid_token"'),
    ],
)
async def test_without_it_there_is_a_challenge(
    app: App, recorder: Recorder, kind: str, headers: dict[str, str], challenge: bytes
) -> None:
    """RFC 6750, section 3."""
    answer = await ask(app, kind, headers=headers)
    assert (answer.status, answer.headers[b"www-authenticate"]) == (401, challenge)
    assert recorder.scopes == []


async def test_a_browser_offers_its_token_as_a_subprotocol(app: App, recorder: Recorder) -> None:
    """The agent chooses the other one, which is no secret."""
    offers = ["smartmob", f"bearer.{TOKEN}"]
    headers = {"sec-websocket-protocol": ", ".join(offers)}
    answer = await ask(app, "websocket", subprotocols=offers, headers=headers)
    assert answer.messages[0]["subprotocol"] == "smartmob"
    assert recorder.scopes[0]["subprotocols"] == ["smartmob"]
    assert TOKEN not in str(recorder.scopes)


async def test_a_token_that_is_no_subprotocol_is_offered_in_base64url(tmp_path: Path) -> None:
    """Browsers take no `/` and no `=` there, which tokens in base64 have."""
    token, recorder, path = "ab/cd+ef/gh+ij12==", Recorder(), tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text(token, encoding="utf-8")
    app = require_token(recorder, Tokens(path), FailureLimit(9))
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    statuses = []
    for offer in (encoded, encoded + "x", "x", ""):
        offers = [f"base64url.bearer.{offer}", "smartmob"]
        statuses.append((await ask(app, "websocket", subprotocols=offers)).status)
    assert statuses == [101, 401, 401, 401]
    assert recorder.scopes[0]["subprotocols"] == ["smartmob"]


async def test_a_token_that_nobody_asked_for_is_ignored() -> None:
    """A page that offers one gets in, and the token goes no further."""
    recorder = Recorder()
    app = ignore_tokens(recorder)
    answer = await ask(app, "websocket", subprotocols=[f"bearer.{TOKEN}", "smartmob"])
    assert answer.messages[0]["subprotocol"] == "smartmob"
    assert (await ask(app, headers=bearer(TOKEN))).status == 200
    await ask(app, "lifespan")
    assert recorder.scopes[-1]["type"] == "lifespan"
    assert TOKEN not in str(recorder.scopes)


async def test_a_token_alone_is_not_chosen(app: App) -> None:
    """Who offers nothing else gets no subprotocol."""
    answer = await ask(app, "websocket", subprotocols=["x", f"bearer.{TOKEN}"])
    assert "subprotocol" not in answer.messages[0]


async def test_health_is_open(app: App, recorder: Recorder) -> None:
    """To requests, at these paths and no others."""
    statuses = [(await ask(app, "http", path)).status for path in ("/health", "/ready", "/x")]
    statuses.append((await ask(app, "websocket", "/health")).status)
    assert statuses == [200, 200, 401, 401]
    await ask(app, "lifespan")
    assert recorder.scopes[-1]["type"] == "lifespan"


async def test_who_fails_too_often_has_to_wait(
    autojump_clock: MockClock, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """With another wrong token; the log holds none of them."""
    caplog.set_level(logging.INFO)
    statuses = [(await ask(app, headers=bearer(f"wrong-token-{n}-abc"))).status for n in range(3)]
    assert statuses == [401, 401, 401]
    blocked = await ask(app, headers=bearer("wrong-token-3-abc"))
    assert (blocked.status, blocked.headers[b"retry-after"]) == (429, b"60")
    await trio.sleep(60)
    logged = [(r.getMessage(), vars(r)["peer"], vars(r)["blocked"]) for r in caplog.records]
    assert logged == [("login failed", "10.0.0.1", blocked) for blocked in (False, False, True)]
    assert "wrong" not in caplog.text


async def test_the_right_token_comes_in_whatever_others_have_tried(app: App) -> None:
    """They may share its address: a proxy, a NAT, a machine.  Who has none is told so."""
    wrong = [(await ask(app, headers=bearer("wrong-token-12345"))).status for _ in range(5)]
    assert wrong == [401, 401, 401, 429, 429]
    assert (await ask(app, headers=bearer(TOKEN))).status == 200
    assert (await ask(app, headers={})).status == 401


async def test_users_of_a_unix_socket_are_not_one_host(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing tells them apart, so nobody is made to wait for another."""
    wrong = [
        (await ask(app, headers=bearer("wrong-token-12345"), client=None)).status for _ in range(5)
    ]
    assert wrong == [401] * 5
    assert {vars(record)["peer"] for record in caplog.records} == {"unix"}
