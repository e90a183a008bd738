"""Agents that serve HTTP in a sandbox, as any user, asked without waiting for anything else."""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs

from tests.e2e.agent import LIMIT
from tests.e2e.sandbox import Sandbox

__all__ = ["Served", "ask", "open_archive", "open_command"]


@attrs.frozen
class Served:
    """An agent that serves.

    pid: as we see it
    """

    pid: int
    url: str
    work_dir: Path | None = None
    events: Iterator[dict[str, Any]] = attrs.field(factory=lambda: iter(()))
    """What it logs from now on; it must not log more than a pipe holds."""

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=LIMIT)

    def ask(self, path: str, document: object = None) -> Any:
        """Ask once; see `ask()`."""
        with contextlib.closing(self.connect()) as connection:
            return ask(connection, path, document)

    def create(self, source: str, app: str = "app") -> str:
        """Create a process of the type `web`, and return its slug when it has been started."""
        order = {"app": app, "node": "a", "process_type": "web", "source_url": source}
        slug = str(self.ask("/create-process", order)["slug"])
        self.wait_event(event="state", slug=slug, state="running")
        return slug

    def wait_event(self, **fields: object) -> dict[str, Any]:
        """Read the log until an event has these fields."""
        for event in self.events:
            if fields.items() <= event.items():
                return event
        raise AssertionError(f"the agent ended without {fields}")


def ask(connection: http.client.HTTPConnection, path: str, document: object = None) -> Any:
    """Ask for something; raises `OSError` or `http.client.HTTPException` if nobody answers."""
    connection.request("GET" if document is None else "POST", path, json.dumps(document or {}))
    answer = connection.getresponse()
    content = json.loads(answer.read())
    assert answer.status < 300, content
    return content


@contextlib.contextmanager
def open_command(sandbox: Sandbox, *options: str, wrapper: Sequence[str] = ()) -> Iterator[Served]:
    """The command in a sandbox, which ends it.

    wrapper: what to put before it
    """
    command = [sys.executable, "-m", "smartmob_agent", "--port=0", "--log-format=json", *options]
    process = sandbox.start([*wrapper, "/bin/sh", "-c", 'exec "$@" 2>&1', "-", *command])
    assert process.stdout
    agent = Served(0, "", events=map(json.loads, process.stdout))
    bind = agent.wait_event(event="bind")
    yield attrs.evolve(agent, pid=sandbox.main_pid(), url=bind["url"])


@contextlib.contextmanager
def open_archive(body: bytes) -> Iterator[str]:
    """The URL of an archive."""

    class Archive(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its signature
            """Nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = (
            False  # Its end waits for them, so that none has a socket in the next test.
        )

    with Server(("127.0.0.1", 0), Archive) as server:
        thread = threading.Thread(target=partial(server.serve_forever, 0.01))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/app.tar.gz"
        finally:
            server.shutdown()
            thread.join()
