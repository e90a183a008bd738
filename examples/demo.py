"""The walk-through of the README: an agent runs a real app, and each answer is checked.

`make demo` runs it.  It exits with 0 when all was as it should be and nothing is left, else
with 1 and a line that says what was wrong.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio
from attach import open_console
from trio_websocket import ConnectionClosed, WebSocketConnection

HELLO = Path(__file__).parent / "hello-python"
SITE = Path(__file__).parent / "static-site"
BUILDER = Path(__file__).parent / "builder-static"
"""Builds the site without any network; those for Python and Node come with the agent."""
LIMIT = 60.0
"""Seconds for all of it, on the slowest machine; it takes about four."""
CREATE = {"app": "hello", "node": "worker.0", "process_type": "worker"}
ENV = {"TICK_SECONDS": "0.2"}


class MismatchError(Exception):
    """The agent did not do what it should; the message says what."""


def check(what: str, *, expected: object, found: object) -> None:
    """Compare one fact."""
    if found != expected:
        raise MismatchError(f"{what}: expected {expected!r}, found {found!r}")


def pack(directory: Path) -> bytes:
    """Return a directory as a tar.gz archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(directory, arcname=directory.name)
    return archive.getvalue()


@asynccontextmanager
async def open_archive_server(archive: bytes) -> AsyncGenerator[str]:
    """Serve an archive on a free port, whatever is asked for; the value is its URL."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(archive)}\r\nConnection: close\r\n\r\n"

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request:
                request += await stream.receive_some()
            await stream.send_all(head.encode() + archive)

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, answer, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/hello-python.tar.gz"
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Agent:
    """The agent as a child of this program; `log` is what it has written so far."""

    process: trio.Process
    url: str = ""
    log: list[str] = attrs.field(factory=list)

    async def read_log(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Read what it writes until it ends; started when it serves."""
        assert self.process.stderr is not None
        rest = ""
        async for chunk in self.process.stderr:
            *lines, rest = (rest + chunk.decode()).split("\n")
            for line in lines:
                self.log.append(line)
                event = json.loads(line) if line.startswith("{") else {}
                if event.get("event") == "bind" and not self.url:
                    self.url = event["url"]
                    task_status.started()
        if not self.url:
            raise MismatchError("the agent ended before it served")


@asynccontextmanager
async def open_agent(work_dir: Path) -> AsyncGenerator[Agent]:
    """Run the command; at the end it must have ended, else it is ended."""
    command = [sys.executable, "-m", "smartmob_agent", "--port", "0", "--log-format", "json"]
    command += ["--work-dir", str(work_dir), "--builder", str(BUILDER)]
    # The apps find the Python that runs this program, whatever else is installed.
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = partial(trio.run_process, command, env=env, stderr=subprocess.PIPE, check=False)
    async with trio.open_nursery() as nursery:
        agent = Agent(await nursery.start(run))
        try:
            await nursery.start(agent.read_log)
            yield agent
        except Exception:
            print("The agent's log:", *agent.log, sep="\n", file=sys.stderr)
            raise
        finally:
            nursery.cancel_scope.cancel()


@attrs.frozen
class Client:
    """Sends requests and shows them with their answers."""

    http: httpx.AsyncClient

    async def request(self, method: str, url: str, body: object = None, *, status: int) -> Any:
        """Return the document that comes back."""
        print(f"\n{method} {url}")
        if body is not None:
            print(json.dumps(body, indent=2))
        response = await self.http.request(method, url, json=body)
        print(response.status_code, json.dumps(response.json(), indent=2))
        check(f"status of {method} {url}", expected=status, found=response.status_code)
        return response.json()


async def read_lines(console: WebSocketConnection, *, after: str = "") -> None:
    """Show three lines; `after`: only from the next line that begins so."""
    line = str(await console.get_message())
    while not line.startswith(after):
        line = str(await console.get_message())
    print(line)
    for _ in range(2):
        print(await console.get_message())


async def read_to_end(console: WebSocketConnection) -> int:
    """Read until the agent closes the socket; return the code."""
    try:
        while True:
            await console.get_message()
    except ConnectionClosed as closed:
        return int(closed.reason.code) if closed.reason else 1006  # RFC 6455, section 7.1.5


def descendants(pid: int) -> Iterator[int]:
    """Find what a process has started, and so on, as Linux tells: see proc(5)."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from descendants(child)


def check_nothing_left(pids: set[int], work_dir: Path) -> None:
    """Look for the processes that were seen, and for files."""
    alive = {pid for pid in pids if Path(f"/proc/{pid}").exists()}
    check("processes left", expected=set(), found=alive)
    check("files left", expected=[], found=list(work_dir.iterdir()))


async def walk_through(client: Client, agent: Agent, source_url: str) -> set[int]:
    """Create a process, see it run and start again, delete it; return all pids seen."""
    index = await client.request("GET", f"{agent.url}/", status=200)
    check("links", expected={"create", "list"}, found=set(index))
    body = {**CREATE, "source_url": source_url, "env": ENV}
    created = await client.request("POST", index["create"], body, status=201)
    check("state", expected="pending", found=created["state"])
    print(f"\nAttached to {created['attach']}:")
    async with open_console(created["attach"]) as console:
        await read_lines(console)
        running = await client.request("GET", created["details"], status=200)
        check("state", expected="running", found=running["state"])
        pids = {running["pid"], *descendants(agent.process.pid)}
        print(f"\nKilling {running['pid']}; the same socket goes on:")
        os.kill(running["pid"], signal.SIGKILL)
        await read_lines(console, after="worker")
        again = await client.request("GET", created["details"], status=200)
        check("exit", expected={"signal": "SIGKILL"}, found=again["exit"])
        check("restarts", expected=1, found=again["restarts"])
        pids |= {again["pid"], *descendants(agent.process.pid)}
        listed = await client.request("GET", index["list"], status=200)
        slugs = [process["slug"] for process in listed["processes"]]
        check("slugs", expected=["hello.worker.0"], found=slugs)
        await client.request("POST", created["delete"], {}, status=200)
        check("close of the socket", expected=1000, found=await read_to_end(console))
    await client.request("GET", created["details"], status=404)
    return pids


async def see_it_built(client: Client, agent: Agent, source_url: str) -> set[int]:
    """Create a process that has to be built, wait until it is ready, and ask it; then delete it."""
    body = {"app": "site", "node": "web.0", "process_type": "web", "source_url": source_url}
    created = await client.request("POST", f"{agent.url}/create-process", body, status=201)
    print("\nIts states:")
    ready = await wait_ready(client.http, f"{agent.url}/events?slug={created['slug']}")
    pids = {ready["pid"], *descendants(agent.process.pid)}
    url = f"http://127.0.0.1:{ready['port']}/"
    page = await client.http.get(url)
    print(f"\nGET {url}\n{page.status_code} {page.text.splitlines()[0]}")
    check("status of the page", expected=200, found=page.status_code)
    status = await client.request("GET", created["details"], status=200)
    check("builder", expected=BUILDER.name, found=status["build"]["builder"])
    await client.request("POST", created["delete"], {}, status=200)
    return pids


async def wait_ready(http: httpx.AsyncClient, url: str) -> Any:
    """Show the states of a process until it is ready; return what the last event says."""
    state = ""
    async with http.stream("GET", url) as events:
        async for line in events.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                [event] = event.get("processes", [event])
                if event["state"] != state:
                    state = event["state"]
                    print(state)
                if event["error"]:
                    raise MismatchError(event["error"])
                if event["ready"]:
                    print("ready")
                    return event
    raise MismatchError("the events ended before the process was ready")


async def run() -> None:
    """Do it all, and look for what is left."""
    with trio.fail_after(LIMIT), tempfile.TemporaryDirectory() as directory:
        work_dir = Path(directory)
        async with (
            open_archive_server(pack(HELLO)) as source_url,
            open_archive_server(pack(SITE)) as site_url,
            open_agent(work_dir) as agent,
        ):
            print(f"smartmob-agent serves {agent.url}")
            async with httpx.AsyncClient(trust_env=False, timeout=LIMIT) as http:
                pids = await walk_through(Client(http), agent, source_url)
                pids |= await see_it_built(Client(http), agent, site_url)
            print("\nPressing CTRL-C for the agent:")
            agent.process.send_signal(signal.SIGINT)
            code = await agent.process.wait()
            print(f"exit code {code}")
            check("exit code", expected=0, found=code)
            check_nothing_left(pids, work_dir)
            print("nothing is left: no process, no file")


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in groups of groups."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    """Return the exit code."""
    error: BaseException | None = None
    try:
        trio.run(run)
    except* MismatchError as group:
        error = first_of(group)
    except* (trio.TooSlowError, httpx.HTTPError, ConnectionClosed) as group:
        error = MismatchError(f"expected an answer, found {first_of(group)!r}")
    if error is not None:
        print(f"mismatch: {error}", file=sys.stderr)
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main())
