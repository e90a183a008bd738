"""Apps as they come: good ones, broken ones, rude ones.  The agent goes on after each."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import zipfile
from pathlib import Path

import aiohttp
import pytest
import trio
import websockets.sync.client
from trio_websocket import HandshakeError

from tests.e2e.agent import (
    RunningAgent,
    archive_server,
    read_to_end,
    running_agent,
    shell_app,
    stuck_client,
    tar_gz,
)

pytestmark = pytest.mark.slow


def unused_port() -> int:
    """Return a port that nobody listens on: it was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def empty_zip() -> bytes:
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    return buffer.getvalue()


async def goes_on(agent: RunningAgent) -> None:
    assert (await agent.client.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("body", "state", "error"),
    [
        (None, "download failure", "404"),
        (b"<!DOCTYPE html><title>Log in</title>", "download failure", "archive"),
        (b"", "download failure", "found nothing"),
        (empty_zip(), "no procfile", "expected a file 'Procfile'"),
        (tar_gz({"README": "x"}), "no procfile", "expected a file 'Procfile'"),
        (tar_gz({"Procfile": "web: a\nweb: b\n"}), "invalid procfile", "Procfile line 2"),
        (tar_gz({"Procfile": "worker: a\n"}), "unknown process type", "'web'"),
        (tar_gz({"Procfile": "web: a\n"})[:-20], "unpack failure", ""),
        (tar_gz({"../Procfile": "web: a\n"}), "unpack failure", "../Procfile"),
    ],
)
async def test_a_source_that_cannot_be_mended_is_a_final_state(
    body: bytes | None, state: str, error: str
) -> None:
    async with archive_server() as server, running_agent() as agent:
        url = f"{server.url}/nowhere" if body is None else server.add("app", body)
        await agent.create(url)
        status = await agent.wait_state("app.web.0", state)
        assert error in status["error"]
        assert "\n" not in status["error"]
        await agent.delete("app.web.0")
        await goes_on(agent)


async def test_a_dead_server_is_tried_again() -> None:
    async with running_agent() as agent:
        await agent.create(f"http://127.0.0.1:{unused_port()}/app.zip")
        status = await agent.wait_state("app.web.0", "backoff")
        assert "refused" in status["error"]
        assert status["next_start_at"] is not None or status["state"] != "backoff"
        await agent.delete("app.web.0")
        await goes_on(agent)


@pytest.mark.parametrize(
    ("script", "how", "error"),
    [
        ("exec no-such-command", {"code": 127}, "the shell did not find the command"),
        ("exit 7", {"code": 7}, "exit code 7"),
        ("kill -SEGV $$", {"signal": "SIGSEGV"}, "SIGSEGV"),
    ],
)
async def test_a_child_that_dies_at_once_is_tried_again(
    script: str, how: dict[str, object], error: str
) -> None:
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", shell_app(script)))
        event = await agent.wait_event(event="state", slug="app.web.0", state="backoff")
        assert error in event["error"]
        assert (await agent.status("app.web.0"))["exit"] == how
        await goes_on(agent)


async def test_a_killed_child_is_replaced_and_its_clients_stay() -> None:
    script = "while :; do echo pid $$; sleep 0.02; done"
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", shell_app(script)))
        first = await agent.wait_state("app.web.0", "running")
        async with agent.attach("app.web.0") as console:
            assert await console.get_message() == f"pid {first['pid']}"
            os.kill(first["pid"], signal.SIGKILL)
            line = f"pid {first['pid']}"
            while line == f"pid {first['pid']}":
                line = str(await console.get_message())
        status = await agent.status("app.web.0")
        assert line == f"pid {status['pid']}"
        assert (status["restarts"], status["exit"]) == (1, {"signal": "SIGKILL"})


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    script = "trap '' TERM\nwhile :; do echo deaf; sleep 0.02; done"
    async with archive_server() as server, running_agent("--stop-timeout=0.2") as agent:
        await agent.create(server.add("app", shell_app(script)))
        async with agent.attach("app.web.0") as console:
            assert await console.get_message() == "deaf"
            await agent.delete("app.web.0")
        await agent.wait_event(event="exit", slug="app.web.0", exit="SIGKILL")
        await goes_on(agent)


async def test_the_console_takes_any_output() -> None:
    """No line end, binary, CRLF, a very long line; and each line is one message."""
    script = (
        "read_go() { while ! [ -e go ]; do sleep 0.02; done; }; read_go\n"
        "printf 'crlf\\r\\n'; printf '\\377\\000bin\\n'; printf '\\n'\n"
        "head -c 70000 /dev/zero | tr '\\0' x; echo\n"
        "printf 'no end'\nexit 0\n"
    )
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", shell_app(script)))
        status = await agent.wait_state("app.web.0", "running")
        async with agent.attach("app.web.0") as console:
            await trio.Path(f"/proc/{status['pid']}/cwd/go").touch()
            lines = [await console.get_message() for _ in range(6)]
    assert lines == ["crlf", "\ufffd\0bin", "", "x" * 65536, "x" * 4464, "no end"]


async def test_a_client_that_never_reads_harms_nobody() -> None:
    """Neither the child nor another client, which reads on without a gap."""
    script = (
        "trap 'exit 0' TERM; n=0\n"
        "while :; do seq -f '%0999.0f' $n $((n + 99)); n=$((n + 100)); sleep 0.05; done\n"
    )
    # Half a minute of output, so that a busy machine makes no slow client of the other.
    ring = f"--console-bytes={64 * 1024 * 1024}"
    async with archive_server() as server, running_agent(ring) as agent:
        await agent.create(server.add("app", shell_app(script)))
        await agent.wait_state("app.web.0", "running")
        async with stuck_client(agent, "app.web.0"), agent.attach("app.web.0") as console:
            first = int(str(await console.get_message()))
            numbers = [int(str(await console.get_message())) for _ in range(2_000)]
            await goes_on(agent)
            await agent.delete("app.web.0")
    assert numbers == list(range(first + 1, first + 2_001))


async def test_a_console_that_is_not_there_is_refused_before_the_upgrade() -> None:
    async with running_agent() as agent:
        with pytest.RaisesGroup(
            pytest.RaisesExc(HandshakeError, check=lambda exc: "404" in repr(exc))
        ):
            async with agent.attach("nobody.0"):
                pass


async def test_other_clients_understand_the_agent_too() -> None:
    """A second opinion: aiohttp and websockets, each with an HTTP and WebSocket of its own."""
    script = "while :; do echo line; sleep 0.02; done"
    async with archive_server() as server, running_agent() as agent:
        status = await agent.create(server.add("app", shell_app(script)))
        attach = status["attach"]

        def by_websockets() -> tuple[str, int | None]:
            with websockets.sync.client.connect(attach) as connection:
                line = str(connection.recv())
                connection.close()
                return line, connection.close_code

        async def by_aiohttp() -> tuple[str, int | None, int]:
            async with aiohttp.ClientSession() as session, session.ws_connect(attach) as ws:
                line = await ws.receive_str()
                await session.post(status["delete"], json={})
                while not ws.closed:
                    await ws.receive()
                async with session.get(status["details"]) as answer:
                    return line, ws.close_code, answer.status

        assert await trio.to_thread.run_sync(by_websockets) == ("line", 1000)
        assert await trio.to_thread.run_sync(lambda: asyncio.run(by_aiohttp())) == (
            "line",
            1000,
            404,
        )


async def test_the_request_id_of_a_create_reaches_the_archive_server() -> None:
    async with archive_server() as server, running_agent() as agent:
        url = server.add("app", shell_app("sleep 1000"))
        answer = await agent.client.post(
            "/create-process",
            json={"app": "a", "node": "b", "process_type": "web", "source_url": url},
            headers={"X-Request-Id": "trace-1"},
        )
        assert answer.headers["x-request-id"] == "trace-1"
        await agent.wait_state("a.b", "running")
        assert "x-request-id: trace-1" in [line.lower() for line in server.requests[0]]


async def test_a_deleted_console_closes_normally_after_the_last_line() -> None:
    script = "trap 'echo bye; exit 0' TERM; echo hi; sleep 1000 & wait"
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", shell_app(script)))
        async with (
            agent.attach("app.web.0", "?tail=9") as console,
            trio.open_nursery() as nursery,
        ):
            assert await console.get_message() == "hi"
            nursery.start_soon(agent.delete, "app.web.0")
            lines, code = await read_to_end(console)
        assert (lines, code) == (["bye"], 1000)


async def test_each_process_has_a_home_and_a_place_for_temporary_files(tmp_path: Path) -> None:
    """Of its own, not the agent's; both are removed with it."""
    script = (
        'echo "$HOME"; echo "$TMPDIR"; pwd; touch "$TMPDIR/mine" ~/mine; echo done; exec sleep 1000'
    )
    async with archive_server() as server, running_agent(f"--work-dir={tmp_path}") as agent:
        url, seen = server.add("app", shell_app(script)), list[str]()
        for app in ("one", "two"):
            await agent.create(url, app, ready={"log": "^done$"})
            await agent.wait_event(event="ready", slug=f"{app}.web.0")
            log = await agent.client.get(f"/process-log/{app}.web.0")
            home, temporary, directory, _done = log.text.splitlines()
            assert home == directory
            seen += [home, temporary]
        assert len(set(seen)) == 4
        assert all(Path(path).is_relative_to(tmp_path) for path in seen)
        await agent.delete("one.web.0")
        assert [Path(path).exists() for path in seen] == [False, False, True, True]  # noqa: ASYNC240  # a test


async def test_an_app_that_removes_its_own_directory_is_started_again() -> None:
    """In files that are made anew, without another download."""
    script = 'echo start; rm -rf "$HOME" "$TMPDIR"'
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", shell_app(script)))
        await agent.wait_event(event="state", state="running")
        count = len(agent.events)
        await agent.wait_event(after=count, event="state", state="running")
        assert len(server.requests) == 1


async def test_an_environment_that_no_program_takes_is_refused() -> None:
    async with archive_server() as server, running_agent() as agent:
        request = {
            "app": "app",
            "node": "web.0",
            "process_type": "web",
            "source_url": server.add("app", shell_app("exec sleep 1000")),
        }
        longest = "x" * (131_072 - len("A=") - 1)
        answer = await agent.client.post("/create-process", json={**request, "env": {"A": longest}})
        assert answer.status_code == 201
        await agent.wait_event(event="state", state="running")
        too_long = {**request, "app": "other", "env": {"A": f"{longest}x"}}
        answer = await agent.client.post("/create-process", json=too_long)
        assert answer.status_code == 400
        [error] = answer.json()["errors"]
        assert error.startswith("expected a variable, with its name, of at most 131,072 bytes")
        assert error.endswith("@ $.env.A")
