"""Apps with real children: deploy, go back, roll back, and SIGKILL in the middle.

`SMARTMOB_ROLLOUT_KILLS` says how often the agent is killed: 3 times, unless it is set.
A hundred take four minutes, so with `-o faulthandler_timeout=0`.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.e2e.agent import RunningAgent, alive, archive_server, running_agent, shell_app

KILLS = int(os.environ.get("SMARTMOB_ROLLOUT_KILLS", "3"))
PUT: dict[str, Any] = {
    "processes": {"web": {"count": 2, "ready": {"port": True, "interval": 0.1, "timeout": 20}}},
    "parallel": 2,
    "watch": 0.2,
    "drain": 0.2,
}


async def put(agent: RunningAgent, url: str, version: str, **changes: Any) -> httpx.Response:
    body = {**PUT, "source_url": url, "env": {"VERSION": version}, **changes}
    return await agent.client.put("/apps/shop?wait=1", json=body)


async def answers(agent: RunningAgent) -> list[str]:
    """What the processes answer at their ports."""
    found = []
    for index in range(2):
        status = await agent.status(f"shop.web.{index}")
        answer = await agent.client.get(f"http://127.0.0.1:{status['port']}/")
        found.append(answer.text)
    return found


@pytest.fixture
def server_script(tmp_path: Path) -> str:
    """Start a web server that answers its version."""
    path = tmp_path / "server.py"
    path.write_text(
        "import http.server, os\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    protocol_version = 'HTTP/1.1'\n"
        "    def do_GET(self):\n"
        "        body = os.environ['VERSION'].encode()\n"
        "        self.send_response(200)\n"
        "        self.send_header('Content-Length', str(len(body)))\n"
        "        self.end_headers()\n"
        "        self.wfile.write(body)\n"
        "    def log_message(self, *_):\n"
        "        pass\n"
        "address = ('127.0.0.1', int(os.environ['PORT']))\n"
        "http.server.ThreadingHTTPServer(address, Handler).serve_forever()\n"
    )
    return f"exec python3 {path}"


async def test_version_2_comes_and_goes(server_script: str) -> None:
    """It is deployed; a bad one goes back; and back it is, when its server is gone."""
    async with archive_server() as server, running_agent() as agent:
        good = server.add("one", shell_app(server_script))
        answer = await put(agent, good, "1")
        assert answer.status_code == 200, answer.text
        assert await answers(agent) == ["1", "1"]
        old = [(await agent.status(f"shop.web.{index}"))["pid"] for index in range(2)]
        answer = await put(agent, server.add("two", shell_app(server_script)), "2")
        assert answer.status_code == 200, answer.text
        assert await answers(agent) == ["2", "2"]
        assert not any(map(alive, old))
        bad = server.add("bad", shell_app("echo no flask; exit 3"))
        answer = await put(agent, bad, "3")
        problem = answer.json()
        assert (answer.status_code, problem["lines"]) == (409, ["no flask"])
        assert "rolled back" in problem["detail"]
        assert "exit code 3" in problem["detail"]
        assert await answers(agent) == ["2", "2"]
        server.bodies.clear()
        answer = await agent.client.post("/apps/shop/rollback?wait=1", json={})
        assert answer.status_code == 200, answer.text
        assert await answers(agent) == ["1", "1"]
        answer = await agent.client.request("DELETE", "/apps/shop")
        assert (answer.status_code, answer.json()) == (200, {})
        assert (await agent.client.get("/list-processes")).json() == {"processes": []}


async def test_a_kill_in_the_middle_leaves_one_release(server_script: str, tmp_path: Path) -> None:
    """Wholly: the one that was wanted, or the one before; and nothing is left of the other."""
    options = (f"--state-dir={tmp_path / 'state'}",)
    seen = set[int]()
    chance = random.Random(5)
    async with archive_server() as server:
        url = server.add("app", shell_app(server_script))
        async with running_agent(*options) as agent:
            assert (await put(agent, url, "0")).status_code == 200
        for number in range(1, KILLS + 1):
            async with running_agent(*options) as agent:
                body = {**PUT, "source_url": url, "env": {"VERSION": str(number)}}
                assert (await agent.client.put("/apps/shop", json=body)).status_code == 202
                await trio.sleep(chance.uniform(0, 1.5))  # Any moment is as good as another.
                listed = (await agent.client.get("/list-processes")).json()["processes"]
                seen.update(one["pid"] for one in listed if one["pid"])
                await agent.stop(signal.SIGKILL)
            async with running_agent(*options) as agent:
                app = await settled(agent)
                assert app["release"] in (number, number + 1)
                assert app["release"] == app["wanted"]["release"] == number + 1
                assert await answers(agent) == [str(number)] * 2
                listed = (await agent.client.get("/list-processes")).json()["processes"]
                assert sorted(one["slug"] for one in listed) == ["shop.web.0", "shop.web.1"]
                living = {one["pid"] for one in listed}
                assert not [pid for pid in seen - living if alive(pid)]
                seen |= living


async def settled(agent: RunningAgent) -> dict[str, Any]:
    """Wait until the rollout is over; return the app."""
    while True:
        app: dict[str, Any] = (await agent.client.get("/apps/shop")).json()
        ready = all(one["ready"] == one["wanted"] for one in app["processes"].values())
        if app["rollout"]["ended_at"] is not None and ready:
            return app
        await trio.sleep(0.05)
