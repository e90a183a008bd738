"""What bench/console.py measures: the agent, websocketd and PM2, each with one child or many."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

__all__ = ["SYSTEMS", "Agent", "Pm2", "System", "Websocketd", "build_child"]


class System(Protocol):
    """Something that starts children and passes on what they write."""

    pid: int
    """Of its main process."""

    def __init__(self, folder: Path, options: list[str]) -> None:
        """folder: empty, for its files; options: for the command line, if it is the agent's."""

    def launch(self, *child: str) -> str:
        """Start a child, with this command line; return the URL of its output, if there is one."""
        ...

    def close(self) -> None:
        """End it and what it started."""
        ...


def build_child(folder: Path) -> str:
    """Return the path of the compiled child.  Raises `SystemExit` where there is no compiler."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise SystemExit("no C compiler: apt-get install gcc libc6-dev")
    binary = folder / "child"
    source = Path(__file__).with_name("console_child.c")
    subprocess.run([compiler, "-O2", "-o", binary, source], check=True)
    return str(binary)


class Websocketd:
    """A child for each connection, begun with it; it writes as fast as its client reads."""

    name = "websocketd"
    program = "websocketd"
    package = "apt-get install websocketd"

    def __init__(self, _folder: Path, _options: list[str]) -> None:
        self._daemon: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    def launch(self, *child: str) -> str:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        options = ("--address=127.0.0.1", f"--port={port}", "--loglevel=fatal")
        self._daemon = subprocess.Popen([self.program, *options, *child])
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return f"ws://127.0.0.1:{port}/"
            time.sleep(0.01)

    def close(self) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait()


class Pm2:
    """Its daemon, in a home of its own; it writes the output to /dev/null."""

    name = "pm2"
    program = "pm2"
    package = "npm install --prefix DIR pm2, and DIR/node_modules/.bin on the PATH"

    def __init__(self, folder: Path, _options: list[str]) -> None:
        self._home = folder / "pm2"
        self._environ = {**os.environ, "PM2_HOME": str(self._home)}
        self._run("ping")
        self.pid = int((self._home / "pm2.pid").read_text())

    def launch(self, *child: str) -> str:
        program, *arguments = child
        quiet = (
            "--output=/dev/null",
            "--error=/dev/null",
            "--interpreter=none",
            "--no-autorestart",
        )
        self._run("start", program, "--no-vizion", "--no-pmx", *quiet, "--", *arguments)
        return ""

    def close(self) -> None:
        self._run("kill")

    def _run(self, *command: str) -> None:
        subprocess.run(
            [self.program, *command], env=self._environ, check=True, stdout=subprocess.DEVNULL
        )


class Agent:
    """The agent, with the options that were given for it."""

    name = "smartmob-agent"
    program = sys.executable

    def __init__(self, _folder: Path, options: list[str]) -> None:
        command = [self.program, "-m", "smartmob_agent", "--port=0", "--stop-timeout=0"]
        self._daemon = subprocess.Popen([*command, *options], stderr=subprocess.PIPE)
        self.pid = self._daemon.pid
        assert self._daemon.stderr is not None
        said = b""
        while not (found := re.search(rb"event=bind url=(\S+)", said)):
            if not (line := self._daemon.stderr.readline()):
                raise SystemExit(said.decode())
            said += line
        self._url = found[1].decode()
        threading.Thread(target=self._daemon.stderr.read, daemon=True).start()

    def launch(self, *child: str) -> str:
        with _source(f"web: exec {' '.join(child)}\n") as url:
            order = {"app": "bench", "node": "0", "process_type": "web", "source_url": url}
            status = self._call("POST", "/create-process", json.dumps(order))
            while status["state"] != "running":
                if status["error"]:
                    raise SystemExit(status["error"])
                time.sleep(0.01)
                status = self._call("GET", "/process-status/bench.0")
        return str(status["attach"])

    def close(self) -> None:
        self._daemon.terminate()
        self._daemon.wait()

    def _call(self, method: str, path: str, body: str | None = None) -> dict[str, object]:
        connection = http.client.HTTPConnection(urlsplit(self._url).netloc)
        connection.request(method, path, body)
        answer: dict[str, object] = json.loads(connection.getresponse().read())
        connection.close()
        return answer


SYSTEMS = (Agent, Websocketd, Pm2)


@contextlib.contextmanager
def _source(procfile: str) -> Iterator[str]:
    """Serve an archive with a Procfile; its URL."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("Procfile")
        member.size = len(procfile)
        tar.addfile(member, io.BytesIO(procfile.encode()))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(buffer.getvalue())))
            self.end_headers()
            self.wfile.write(buffer.getvalue())

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
