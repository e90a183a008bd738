"""The route of metrics."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio

import smartmob_agent
from smartmob_agent import Agent
from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.http.middleware.stack import open_middleware
from smartmob_agent.http.middleware.traffic import Traffic
from tests.api.asgi import open_site
from tests.api.asking import ask
from tests.e2e.agent import LIMIT
from tests.e2e.test_serve import SPEC, start


async def test_the_answer_is_the_text_of_prometheus() -> None:
    async with open_site() as site:
        await site.create()
        answer = await site.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert 'smartmob_process_starts_total{app="app",' in answer.text


async def test_a_client_may_ask_for_openmetrics() -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    async with open_site() as site:
        answer = await site.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0;")
    assert answer.text.endswith("# EOF\n")


async def test_it_asks_for_a_token(tmp_path: Path) -> None:
    """Unlike `/health`: it names all processes."""
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text("t" * 40)
    gate = open_middleware(AgentConfig(security=Security(token_file=path)))
    async with open_site() as site:
        assert (await ask(gate.wrap(site.app, Traffic()), path="/metrics")).status == 401


@pytest.mark.slow
async def test_a_client_that_goes_away_leaves_nothing_behind() -> None:
    """It resets its connection while its metrics are read; the next one gets them."""
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery:
            agent = await start(nursery)
            agent.supervisor.create(SPEC)
            for _ in range(20):
                stream = await connect(agent)
                await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await trio.aclose_forcefully(stream)
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"{agent.url}/metrics")
            assert 'smartmob_processes{state="running"} 1.0' in answer.text
            agent.stop()


async def connect(agent: Agent) -> trio.SocketStream:
    host, port = agent.url.removeprefix("http://").rsplit(":", 1)
    return await trio.open_tcp_stream(host, int(port))


async def test_agents_in_one_program_have_metrics_of_their_own() -> None:
    with trio.fail_after(LIMIT):
        async with trio.open_nursery() as nursery, httpx.AsyncClient() as client:
            one, two = await start(nursery), await start(nursery)
            one.supervisor.create(SPEC)
            await one.supervisor.get(SPEC.slug).wait_state(smartmob_agent.State.RUNNING)
            texts = [(await client.get(f"{agent.url}/metrics")).text for agent in (one, two)]
            one.stop()
            two.stop()
    assert ["smartmob_starts_total 1.0" in text for text in texts] == [True, False]
    assert [SPEC.slug in text for text in texts] == [True, False]
    downloads = 'smartmob_download_seconds_count{outcome="fetched"} 1.0'
    assert [downloads in text for text in texts] == [True, False]
    assert ["smartmob_spawn_seconds_count 1.0" in text for text in texts] == [True, False]
    assert all('smartmob_build_info{containment="tree"' in text for text in texts)
