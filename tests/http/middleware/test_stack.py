"""All that stands before the API, together."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.errors import StartError
from smartmob_agent.http.middleware.stack import open_middleware
from smartmob_agent.http.middleware.traffic import Traffic
from tests.api.asking import Recorder, ask

TOKENS = ("first-token-0123456", "second-token-012345")


async def test_every_answer_has_an_id_and_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    """Those of the gate too; the client is the one that the proxy tells of."""
    caplog.set_level(logging.INFO)
    config = AgentConfig(security=Security(trusted_proxies=("10.0.0.1",)))
    app = open_middleware(config).wrap(Recorder(), Traffic())
    headers = {"host": "evil.example", "x_request_id": "abc", "x_forwarded_for": "192.0.2.7"}
    answer = await ask(app, headers=headers)
    record = vars(caplog.records[0])
    assert (answer.status, answer.headers[b"x-request-id"]) == (403, b"abc")
    assert (record["request_id"], record["status"], record["peer"]) == ("abc", 403, "192.0.2.7")


async def test_an_application_inside_does_not_give_another_id() -> None:
    """It finds the one of the gate."""
    recorder = Recorder()
    gate = open_middleware(AgentConfig())
    answer = await ask(gate.wrap(gate.wrap(recorder, Traffic()), Traffic()))
    ids = [value for name, value in answer.messages[0]["headers"] if name == b"x-request-id"]
    assert [recorder.scopes[0]["request_id"].encode()] == ids


async def test_tokens_are_asked_for_and_can_be_changed(tmp_path: Path) -> None:
    """Without a restart."""
    path = tmp_path / "tokens"
    path.write_text(TOKENS[0])
    path.chmod(0o600)
    gate = open_middleware(AgentConfig(security=Security(token_file=path)))
    app = gate.wrap(Recorder(), Traffic())

    async def statuses() -> list[int]:
        tries = [{"host": "localhost", "authorization": f"Bearer {token}"} for token in TOKENS]
        return [(await ask(app, headers=headers)).status for headers in tries]

    before = await statuses()
    path.write_text(TOKENS[1])
    gate.reload()
    assert (before, await statuses()) == ([200, 401], [401, 200])


async def test_without_tokens_everyone_at_the_right_name_comes_in() -> None:
    """There is nothing to reload."""
    gate = open_middleware(AgentConfig())
    gate.reload()
    assert (await ask(gate.wrap(Recorder(), Traffic()))).status == 200


def test_a_bad_token_file_is_told_at_once(tmp_path: Path) -> None:
    """Before anything is bound."""
    with pytest.raises(StartError):
        open_middleware(AgentConfig(security=Security(token_file=tmp_path / "none")))
