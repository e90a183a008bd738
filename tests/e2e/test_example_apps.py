"""The apps in examples/ that have to be built: each runs as it is, and answers."""

from __future__ import annotations

import io
import shutil
import socket
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.e2e.agent import RunningAgent, archive_server, running_agent
from tests.e2e.test_builds import BUILD_LIMIT, make_wheel, outcome, reachable

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PYTHON_REGISTRY = "https://pypi.org/simple/iniconfig/"
NODE_REGISTRY = "https://registry.npmjs.org/ms"

FLASK = """\
class Flask:
    def __init__(self, name):
        self.pages = {}

    def get(self, path):
        return lambda page: self.pages.setdefault(path, page)

    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [self.pages[environ["PATH_INFO"]]().encode()]
"""
GUNICORN = """\
import importlib, sys, wsgiref.simple_server

def main():
    _, _, address, place = sys.argv
    sys.path.insert(0, "")
    module, name = place.split(":")
    host, port = address.split(":")
    app = getattr(importlib.import_module(module), name)
    wsgiref.simple_server.make_server(host, int(port), app).serve_forever()
"""
"""As little of both as the example needs."""


def unused_port() -> str:
    """Return a port that nobody listens on: it was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return str(sock.getsockname()[1])


def pack(name: str) -> bytes:
    """As GitHub does: all in one directory."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(EXAMPLES / name, arcname=f"{name}-main")
    return archive.getvalue()


@asynccontextmanager
async def example(name: str, *options: str, **env: str) -> AsyncIterator[tuple[RunningAgent, str]]:
    """Run an example; the value is the agent, and the URL of the example."""
    port = unused_port()
    async with archive_server() as server, running_agent(*options, limit=BUILD_LIMIT) as agent:
        await agent.create(server.add(name, pack(name)), app="app0", env={"PORT": port, **env})
        status = await outcome(agent)
        assert (status["state"], status["error"]) == ("running", None)
        yield agent, f"http://127.0.0.1:{port}"


async def answer(url: str) -> httpx.Response:
    """Ask until the server listens."""
    async with httpx.AsyncClient() as client:
        while True:
            try:
                return await client.get(url)
            except httpx.ConnectError:
                await trio.sleep(0.05)


async def test_flask_runs_by_packages_of_this_machine(tmp_path: Path) -> None:
    wheels: dict[str, dict[str, Any]] = {
        "flask": {"files": {"flask.py": FLASK}, "version": "3.0"},
        "gunicorn": {
            "files": {"gunicorn.py": GUNICORN},
            "version": "23.0",
            "script": "gunicorn:main",
        },
    }
    for name, about in wheels.items():
        path = tmp_path / f"{name}-{about['version']}-py3-none-any.whl"
        path.write_bytes(make_wheel(name, **about))
    find = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    find |= {"UV_NO_INDEX": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": str(tmp_path)}
    async with example("flask-pip", **find) as (_, url):
        assert (await answer(url)).text == "Hello from Flask\n"


@pytest.mark.skipif(shutil.which("gzip") is None, reason="needs gzip")
async def test_a_builder_of_the_operator_runs_what_has_no_program() -> None:
    async with example("static-site", f"--builder={EXAMPLES / 'builder-static'}") as (agent, url):
        assert "Hello from a file" in (await answer(url)).text
        assert (await answer(f"{url}/index.html.gz")).status_code == 200
        assert (await agent.status("app0.web.0"))["build"]["builder"] == "builder-static"


@pytest.mark.parametrize(
    ("name", "registry", "tool", "expected"),
    [
        ("flask-pip", PYTHON_REGISTRY, sys.executable, "Hello from Flask\n"),
        (
            "fastapi-uv",
            PYTHON_REGISTRY,
            str(Path(sys.executable).with_name("uv")),
            '{"hello":"from FastAPI"}',
        ),
        ("express-npm", NODE_REGISTRY, "npm", "Hello from Express\n"),
    ],
)
async def test_it_runs_by_the_real_registry(
    name: str, registry: str, tool: str, expected: str
) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")
    if not await trio.to_thread.run_sync(reachable, registry):
        pytest.skip("the registry cannot be reached")
    async with example(name) as (_, url):
        assert (await answer(url)).text == expected
