"""The cache and uploads, by the command: one download for many, and for the next agent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import trio

from tests.e2e.agent import archive_server, running_agent, shell_app, tar_gz

SLEEP = shell_app("exec sleep 1000\n")
DIGEST = hashlib.sha256(SLEEP).hexdigest()


@pytest.mark.slow
async def test_many_creates_at_once_cost_one_request() -> None:
    """And each process has files of its own."""
    async with archive_server() as server, running_agent() as agent:
        url = server.add("app", SLEEP)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(agent.create, url, f"app{number}")
        for number in range(20):
            status = await agent.wait_state(f"app{number}.web.0", "running")
            assert status["source_sha256"] == DIGEST
        assert len(server.requests) == 1


@pytest.mark.slow
async def test_the_cache_outlives_a_killed_agent(tmp_path: Path) -> None:
    """What was complete needs no request; what was not is downloaded again."""
    option = f"--cache-dir={tmp_path}"
    large = tar_gz({"Procfile": "web: sleep 1000\n", "data": bytes(range(256)) * 4})
    async with archive_server() as server:
        url, other = server.add("app", SLEEP), server.add("large", large)
        async with running_agent(option) as agent:
            await agent.create(url)
            await agent.wait_state("app.web.0", "running")
            await agent.create(other, "other")
            agent.process.kill()
            await agent.process.wait()
        server.requests.clear()
        async with running_agent(option) as agent:
            await agent.create(url, source_sha256=DIGEST)
            await agent.wait_state("app.web.0", "running")
            assert server.requests == []
            await agent.create(other, "other")
            await agent.wait_state("other.web.0", "running")
    for path in tmp_path.glob("downloads/*"):  # noqa: ASYNC240  # a test
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    assert len(list(tmp_path.iterdir())) == 5  # noqa: ASYNC240  # a test


@pytest.mark.slow
async def test_an_uploaded_app_runs() -> None:
    """Whatever is in the way of a download; another digest is none of its business."""
    async with running_agent("--archive-bytes=100000") as agent:
        answer = await agent.client.put("/upload-source", content=SLEEP)
        assert answer.status_code == 201
        upload = answer.json()
        assert (upload["sha256"], upload["size"]) == (DIGEST, len(SLEEP))
        await agent.create(upload["source_url"])
        status = await agent.wait_state("app.web.0", "running")
        assert status["source_sha256"] == DIGEST
        await agent.create(upload["source_url"], "other", source_sha256="0" * 64)
        await agent.wait_state("other.web.0", "download failure")
        answer = await agent.client.put("/upload-source", content=bytes(100_001))
        assert answer.status_code == 413
        answer = await agent.client.put("/upload-source", content=b"x" * 99_999)
        assert answer.status_code == 422


@pytest.mark.slow
async def test_another_archive_than_was_expected_is_not_unpacked(tmp_path: Path) -> None:
    """Its process says so, and nothing is left."""
    async with archive_server() as server, running_agent(f"--cache-dir={tmp_path}") as agent:
        await agent.create(server.add("app", SLEEP), source_sha256="0" * 64)
        status = await agent.wait_state("app.web.0", "download failure")
        expected = f"{server.url}/app: expected the SHA-256 digest {'0' * 64}, found {DIGEST}"
        assert status["error"] == expected
        assert list(tmp_path.glob("downloads/*")) == []  # noqa: ASYNC240  # a test
