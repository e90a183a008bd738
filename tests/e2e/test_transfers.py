"""The command and servers that mean no good, or are no good."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import trio

from smartmob_agent import Agent, AgentConfig, EgressRules, ProcessSpec, State, serve
from smartmob_agent.testing import FakeSpawner
from tests.e2e.agent import RunningAgent, running_agent, shell_app
from tests.source.download.evil import EVILS, LIMITS, SILENT, TOO_SLOW, Evil
from tests.source.servers import open_server, respond

OPTIONS = (
    f"--download-timeout={LIMITS.total_timeout}",
    f"--download-idle-timeout={LIMITS.idle_timeout}",
    f"--download-redirects={LIMITS.redirects}",
    f"--download-resumes={LIMITS.resumes}",
    f"--archive-bytes={LIMITS.archive_bytes}",
    "--restart-cap-delay=2",
)
TOO_EARLY = re.compile(rf"http://\S+: ({SILENT}|{TOO_SLOW})")
MEMORY_BYTES = 96 * 1024 * 1024

APP = shell_app("echo up; exec sleep 1000")


async def pause(_stream: trio.abc.Stream, seconds: float) -> None:
    await trio.sleep(seconds)


async def serve_evil(stream: trio.abc.Stream, request: bytes) -> None:
    """Serve each evil below its path; and at `/cut` an honest archive, though not at once."""
    path = re.match(rb"GET (/[^/? ]*)", request)[1].decode()  # type: ignore[index]  # it does
    if path == "/cut":
        half = len(APP) // 2
        part = f"Content-Range: bytes {half}-{len(APP) - 1}/{len(APP)}"
        if f"\r\nRange: bytes={half}-\r\n".encode() in request:
            await stream.send_all(respond(APP[half:], part, status="206 Partial Content"))
        else:
            await stream.send_all(respond(APP, 'ETag: "1"')[: half - len(APP)])
        return
    evil = next(evil for evil in EVILS if evil.path == path)
    await evil.handle(pause, stream, request)


def peak_bytes(agent: RunningAgent) -> int:
    """The most memory that the agent has ever had."""
    status = Path(f"/proc/{agent.process.pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def files(directory: Path) -> list[str]:
    """All that is there but directories."""
    return [str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()]


@pytest.mark.slow
async def test_no_evil_server_does_an_agent_any_harm(tmp_path: Path) -> None:
    """All of them at once: each process ends as it should, and nothing else is left of it.

    On a busy machine a time limit may come first, which is tried again until the evil itself
    comes to pass.
    """
    states: dict[str, str] = {}

    async def check(evil: Evil, number: int) -> None:
        slug = f"evil-{number}.web.0"
        message = re.compile(rf"http://\S+: ({evil.message})" if evil.error else ".*")
        seen = 0
        while True:
            state = await agent.wait_event(after=seen, event="state", slug=slug, state=evil.state)
            if message.fullmatch(state["error"]):
                break
            assert TOO_EARLY.fullmatch(state["error"]), (evil.what, state["error"])
            seen = agent.events.index(state, seen) + 1
        states[slug] = evil.state

    options = (*OPTIONS, f"--work-dir={tmp_path}")
    async with open_server(serve_evil) as server, running_agent(*options) as agent:
        await agent.create(f"{server.url}/cut", "good")
        before = peak_bytes(agent)
        async with trio.open_nursery() as nursery:
            for number, evil in enumerate(EVILS):
                await agent.create(f"{server.url}{evil.path}?secret", f"evil-{number}")
                nursery.start_soon(check, evil, number)
        assert len(states) == len(EVILS)
        assert (await agent.status("good.web.0"))["state"] == "running"
        assert peak_bytes(agent) - before < MEMORY_BYTES
        for slug in states:
            await agent.delete(slug)
        kept = re.compile("[^/]+/(good.web.0-|cache/(downloads|urls)/)")
        assert [path for path in files(tmp_path) if not kept.match(path)] == []
        assert "secret" not in str(agent.events)
        cut = [request for request in server.requests if request.startswith(b"GET /cut ")]
        # On a busy machine more tries may be cut.
        resumed = [b"\r\nIf-Range: " in request for request in cut]
        assert (resumed[0], resumed[-1]) == (False, True)
    assert files(tmp_path) == []


async def test_an_archive_that_lost_its_end_on_the_way_runs_in_the_end() -> None:
    """A server without lengths, as of HTTP/1.0, dies in the middle of its first answer."""
    lengths = iter([len(APP) // 2, 0, len(APP)])

    async def answer(stream: trio.abc.Stream, _request: bytes) -> None:
        await stream.send_all(b"HTTP/1.0 200 OK\r\n\r\n" + APP[: next(lengths)])

    async with open_server(answer) as server, running_agent() as agent:
        await agent.create(f"{server.url}/app.tar.gz")
        await agent.wait_state("app.web.0", "running")
        states = [event for event in agent.events if event["event"] == "state"]
        errors = [event["error"] for event in states if event["state"] == "backoff"]
        assert errors == [
            f"{server.url}/app.tar.gz: the gzip data is cut short",
            f"{server.url}/app.tar.gz: cut short after 0 bytes",
        ]


async def test_a_source_that_is_denied_is_not_asked(tmp_path: Path) -> None:
    """What the agent was told reaches its connections."""
    config = AgentConfig(port=0, work_dir=tmp_path, egress=EgressRules(deny=("127.0.0.0/8",)))
    start = partial(serve, config, spawner=FakeSpawner())
    async with open_server({}) as server, trio.open_nursery() as nursery:
        agent: Agent = await nursery.start(start)
        process = agent.supervisor.create(
            ProcessSpec(app="a", node="b", process_type="web", source_url=f"{server.url}/?secret")
        )
        await process.wait_state(State.DOWNLOAD_FAILURE)
        rule = "127.0.0.1 is denied by the rule 127.0.0.0/8"
        assert process.error == f"{server.url}/: must not be asked: {rule}"
        assert server.requests == []
        agent.stop()
