"""Real children with ports, readiness, single runs and stops of their own."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
import trio

from tests.e2e.agent import RunningAgent, archive_server, running_agent, shell_app, tar_gz

pytestmark = pytest.mark.slow

WEB = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
APP = tar_gz({"Procfile": "web: python3 web.py\n", "web.py": WEB})
SLUG = "app.web.0"


async def wait_ready(agent: RunningAgent, slug: str = SLUG) -> dict[str, object]:
    """Wait for the readiness of a process as the agent's log tells it; return its status."""
    await agent.wait_event(event="ready", slug=slug)
    return await agent.status(slug)


@pytest.mark.parametrize("ready", [None, {"http": "/health"}])
async def test_a_web_server_is_ready_when_it_answers(ready: dict[str, Any] | None) -> None:
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", APP), ready=ready)
        status = await wait_ready(agent)
        port = status["port"]
        assert (status["ready"], status["state"], status["error"]) == (True, "running", None)
        assert isinstance(port, int)
        assert 20000 <= port <= 29999
        async with await trio.open_tcp_stream("127.0.0.1", port):
            pass


async def test_fifty_at_once_have_fifty_ports() -> None:
    app = shell_app("echo port $PORT; exec sleep 1000")
    async with archive_server() as server, running_agent() as agent:
        url, ports = server.add("app", app), set[int]()

        async def start(number: int) -> None:
            slug = f"app{number}.web.0"
            await agent.create(url, app=f"app{number}", ready={"log": "^port [0-9]+$"})
            status = await wait_ready(agent, slug)
            ports.add(int(str(status["port"])))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(start, number)
        assert len(ports) == 50


async def test_a_stranger_on_its_port_is_waited_for() -> None:
    async with archive_server() as server, running_agent() as agent:
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            port = stranger.getsockname()[1]
            await agent.create(server.add("app", APP), port=port, ready={"http": "/health"})
            status = await agent.wait_state(SLUG, "backoff")
            assert status["error"] == (
                f"port {port} is in use by a program that is not the agent's"
            )
        assert (await wait_ready(agent))["port"] == port


async def test_two_cannot_have_one_number() -> None:
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", APP))
        port = (await wait_ready(agent))["port"]
        request = {
            "app": "other",
            "node": "web.0",
            "process_type": "web",
            "port": port,
            "source_url": server.add("app", APP),
        }
        answer = await agent.client.post("/create-process", content=json.dumps(request))
        assert answer.status_code == 409
        assert answer.json()["detail"].startswith(f"port {port} is that of the process '{SLUG}'")


NOTIFY = """
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
    sender.connect("\\0" + os.environ["NOTIFY_SOCKET"][1:])
    sender.send(b"STATUS=nearly")
    sender.send(b"READY=1")
time.sleep(1000)
"""


async def test_a_descendant_may_say_that_it_is_ready() -> None:
    files = {"Procfile": "web: sh -c 'python3 notify.py; :'\n", "notify.py": NOTIFY}
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", tar_gz(files)), ready={"notify": True})
        assert (await wait_ready(agent))["ready"]


@pytest.mark.parametrize(
    ("command", "restart", "how"),
    [
        ("echo done", "never", {"code": 0}),
        ("echo done; exit 3", "never", {"code": 3}),
        ("echo done; kill -KILL $$", "never", {"signal": "SIGKILL"}),
        ("echo done", "on-failure", {"code": 0}),
    ],
)
async def test_what_runs_once_has_finished(
    command: str, restart: str, how: dict[str, object]
) -> None:
    """In files that have no Procfile; what it wrote is there by then."""
    async with archive_server() as server, running_agent() as agent:
        url = server.add("app", tar_gz({"top/backend/data": "x"}))
        wishes = {"command": f"cat data; {command}", "root": "backend", "restart": restart}
        await agent.create(url, process_type=None, **wishes)
        status = await agent.wait_state(SLUG, "finished")
        assert (status["exit"], status["restarts"], status["process_type"]) == (how, 0, None)
        log = await agent.client.get(f"/process-log/{SLUG}")
        assert log.text == "xdone\n"
        await agent.client.post(f"/restart-process/{SLUG}?wait=1")
        await agent.wait_event(event="exit", slug=SLUG, after=1)
        assert (await agent.status(SLUG))["restarts"] == 1


STOP = """
trap 'echo app heard; exit 0' USR1
(trap 'echo child heard; exit 0' USR1; echo begins; while :; do sleep 0.01; done) &
while :; do sleep 0.01; done
"""


@pytest.mark.parametrize(
    ("to", "said"), [("app", ["app heard"]), ("group", ["app heard", "child heard"])]
)
async def test_a_stop_is_heard_by_whom_it_is_for(to: str, said: list[str]) -> None:
    async with archive_server() as server, running_agent() as agent:
        url = server.add("app", shell_app(STOP))
        stop = {"signal": "USR1", "timeout": 30, "to": to}
        await agent.create(url, stop=stop, ready={"log": "begins"})
        await wait_ready(agent)
        async with agent.attach(SLUG) as console:
            await agent.delete(SLUG)
            lines: list[str] = []
            try:
                while True:
                    lines.append(str(await console.get_message()))
            except Exception:  # noqa: BLE001  # The end, by whatever name.
                pass
        # A shell has a word of its own for a command that dies of a signal.
        assert sorted(line for line in lines if line.endswith("heard")) == said


async def test_a_tree_over_its_limits_is_started_again_and_told() -> None:
    eat = "import time; data = bytearray(64 * 1024 * 1024); print('eaten'); time.sleep(1000)"
    files = {"Procfile": f'web: python3 -c "{eat}"\nmany: sleep 999 & sleep 999 & wait\n'}
    async with archive_server() as server, running_agent() as agent:
        url = server.add("app", tar_gz(files))
        await agent.create(url, "memory", limits={"memory_bytes": 32 * 1024 * 1024})
        await agent.create(url, "tasks", process_type="many", limits={"tasks": 2})
        for app, name in (("memory", "memory_bytes"), ("tasks", "tasks")):
            event = await agent.wait_event(
                event="state", slug=f"{app}.web.0", state="backoff", error=Ends(f"(limits.{name})")
            )
            assert "its tree had" in event["error"]


class Ends(str):
    """Equal to whatever ends like this."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other.endswith(str(self))


async def test_files_and_cores_are_limited() -> None:
    script = "echo $(ulimit -n) $(ulimit -Hn) $(ulimit -c); exec sleep 1000"
    async with archive_server() as server, running_agent() as agent:
        url = server.add("app", shell_app(script))
        await agent.create(url, limits={"open_files": 99, "core_bytes": 0}, ready={"log": "99"})
        await wait_ready(agent)
        assert (await agent.client.get(f"/process-log/{SLUG}")).text == "99 99 0\n"
