"""A whole agent at work: no call that may block is made in its event loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trustme

from smartmob_agent.agent import Agent, serve
from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.process.states import State
from tests.blocking import watch_blocking_calls
from tests.e2e.agent import LIMIT, archive_server, shell_app

TOKEN = "a" * 32
SLUG = "app.web.0"
ALLOWED = {
    # /dev/null, and the interpreter that runs already: nothing that could hang while we do not.
    "open by child/zygote_client.py:_start",
    "fork_exec by child/zygote_client.py:_start",
    # Of an address: trio tries AI_NUMERICHOST first, which asks nobody.
    "getaddrinfo by source/download/dialer.py:connect",
}
ASKED = {
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/list-processes",
    "/events?follow=0",
}

pytestmark = pytest.mark.slow


async def create(client: httpx.AsyncClient, url: str) -> Any:
    document = {"app": "app", "node": "web.0", "process_type": "web", "source_url": url}
    return (await client.post("/create-process", json=document)).status_code


async def test_nothing_that_may_block_is_called_in_the_event_loop(tmp_path: Path) -> None:
    """From start to stop: certificates, tokens, sockets, archives, restarts, logs and metrics."""
    authority = trustme.CA()
    cert = tmp_path / "cert.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(cert)
    trust = httpx.create_ssl_context(verify=False)
    authority.configure_trust(trust)
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(TOKEN, encoding="utf-8")
    config = AgentConfig(
        host="localhost",
        port=0,
        unix=tmp_path / "agent.sock",
        work_dir=tmp_path / "work",
        stop_timeout=1,
        security=Security(token_file=tokens, tls_cert=cert),
    )
    async with archive_server() as server:
        with trio.fail_after(LIMIT), watch_blocking_calls() as calls:
            async with trio.open_nursery() as nursery:
                agent: Agent = await nursery.start(serve, config)
                await use(agent, server.add("app", shell_app("echo x; sleep 1; exit 3")), trust)
                await agent.reload()
                agent.stop()
    assert {str(call) for call in calls} - ALLOWED == set()
    assert not await trio.Path(tmp_path / "agent.sock").exists()


async def use(agent: Agent, url: str, trust: Any) -> None:
    """Do what clients do."""
    async with httpx.AsyncClient(
        base_url=agent.url,
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=LIMIT,
        verify=trust,
    ) as client:
        assert await create(client, url) == 201
        await agent.supervisor.get(SLUG).wait_state(State.RUNNING)
        await agent.supervisor.get(SLUG).wait_state(State.BACKOFF)
        await client.post("/restart-process/app.web.0")
        await agent.supervisor.get(SLUG).wait_state(State.RUNNING)
        for path in sorted(ASKED):
            assert (await client.get(path)).status_code == 200, path
        for query in ("", "?format=json", "?format=ndjson&tail=1"):
            answer = await client.get(f"/process-log/app.web.0{query}")
            assert answer.status_code == 200
        upload = await client.put("/upload-source", content=shell_app("sleep 10"))
        assert upload.status_code == 201
        await client.post("/signal-process/app.web.0", json={"signal": "SIGTERM"})
        await client.post("/delete-process/app.web.0")
        assert await create(client, url) == 201  # from the cache
        await agent.supervisor.get(SLUG).wait_state(State.RUNNING)
