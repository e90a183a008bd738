"""Who may use the agent, by its command line and real sockets."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import httpx
import pytest
import trio
import trustme
import websockets.sync.client

from tests.e2e.agent import RunningAgent, archive_server, run_to_end, running_agent, shell_app

pytestmark = [pytest.mark.slow, pytest.mark.measures_children]

TOKEN, OTHER = "a" * 32, "b" * 32


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def status_of(agent: RunningAgent, headers: dict[str, str]) -> int:
    return (await agent.client.get("/", headers=headers)).status_code


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n", encoding="utf-8")
    return path


async def test_a_token_is_asked_for_and_may_be_replaced(tokens: Path) -> None:
    async with running_agent("--token-file", str(tokens)) as agent:
        assert await status_of(agent, {}) == 401
        assert await status_of(agent, bearer(OTHER)) == 401
        assert await status_of(agent, bearer(TOKEN)) == 200
        await trio.Path(tokens).write_text(f"{OTHER}\n", encoding="utf-8")
        agent.process.send_signal(signal.SIGHUP)
        await agent.wait_event(event="tokens reloaded")
        assert await status_of(agent, bearer(TOKEN)) == 401
        assert await status_of(agent, bearer(OTHER)) == 200
    assert TOKEN not in str(agent.events)


async def test_a_browser_attaches_by_a_subprotocol(tokens: Path) -> None:
    async with (
        archive_server() as server,
        running_agent("--token-file", str(tokens), "--log-level", "debug") as agent,
    ):
        agent.client.headers.update(bearer(TOKEN))
        app = shell_app("while :; do echo line; sleep 0.02; done")
        status = await agent.create(server.add("app", app))

        def attach() -> tuple[str, str | None]:
            offers = [
                websockets.Subprotocol("smartmob"),
                websockets.Subprotocol(f"bearer.{TOKEN}"),
            ]
            with websockets.sync.client.connect(status["attach"], subprotocols=offers) as console:
                return str(console.recv()), console.subprotocol

        assert await trio.to_thread.run_sync(attach) == ("line", "smartmob")
        await agent.wait_event(event="request", status=101)
    assert TOKEN not in str(agent.events)


async def test_health_is_told_under_any_name(tokens: Path) -> None:
    """As load balancers ask: by address, by a name of theirs, or HTTP/1.0 without one."""
    async with running_agent("--token-file", str(tokens)) as agent:
        for path in ("/health", "/ready"):
            answer = await agent.client.get(path, headers={"Host": "lb.example"})
            assert answer.status_code == 200
            stream = await trio.open_tcp_stream("127.0.0.1", int(agent.url.rpartition(":")[2]))
            async with stream:
                await stream.send_all(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        assert await status_of(agent, {"Host": "lb.example"} | bearer(TOKEN)) == 403


async def test_tls_has_secure_links(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with running_agent("--tls-cert", str(tmp_path / "cert.pem")) as agent:
        async with httpx.AsyncClient(base_url=agent.url, verify=context) as client:
            assert (await client.get("/")).json()["list"] == f"{agent.url}/list-processes"
        assert agent.url.startswith("https://127.0.0.1:")


async def test_other_names_are_refused() -> None:
    async with running_agent("--allow-host", "agent.lan") as agent:
        assert await status_of(agent, {"Host": "evil.example"}) == 403
        assert await status_of(agent, {"Origin": "http://evil.example"}) == 403
        assert await status_of(agent, {"Host": "agent.lan:80"}) == 200


async def test_an_open_address_without_credentials_is_refused_at_the_start() -> None:
    result = await run_to_end("--host", "0.0.0.0")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"--token-file" in result.stderr


async def test_a_token_file_that_others_can_read_is_refused(tokens: Path) -> None:
    await trio.Path(tokens).chmod(0o644)
    result = await run_to_end("--port=0", "--token-file", str(tokens))
    [line] = result.stderr.decode().splitlines()
    assert result.returncode == 1
    assert str(tokens) in line


async def test_without_tokens_the_end_of_a_terminal_ends_the_agent() -> None:
    async with running_agent() as agent:
        assert await agent.stop(signal.SIGHUP) == -signal.SIGHUP
