"""Deploys behind a proxy at full load: does any request fail, or get an answer that is too old?

    python bench/deploys.py               nginx and HAProxy, 20 deploys each
    python bench/deploys.py nginx         one of them; or haproxy
    python bench/deploys.py --deploys 2   does it work?
    python bench/deploys.py slots         how long a deploy to 20 slots takes, 5 at a time

A web app with 2 processes is deployed again and again, while `smartmob render --follow` tells the
proxy, `wrk` (16 keep-alive connections) asks as fast as it can, and a client of its own looks at
answers: each names its release, and none may be older than the last deploy that was done when it
was asked for.  Ends with 1 if anything failed.  All is on 127.0.0.1.

nginx closes connections that are idle when it reads its file again, whatever comes on them just
then: such resets are told apart, and no failure.  (`keepalive_min_timeout` of nginx 1.27.4 is there
against them.)

A deploy to 20 slots, 5 at a time, is to take at most 1.25 times 4 times the start-up of the app and
the time for which the old child drains; and never may there be more than 25 children.
"""

from __future__ import annotations

import argparse
import getpass
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

_FIRST = 30000 + os.getpid() % 100 * 20
PORTS = f"{_FIRST}-{_FIRST + 99}"
"""Not those of another run at the same time."""
RESETS = ("RemoteDisconnected", "ConnectionResetError", "BrokenPipeError")
ROOT = Path(__file__).parent.parent
SERVER = b"""
import asyncio, os, signal
body = f"release {os.environ['SMARTMOB_RELEASE']}\\n".encode()
answer = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body)
async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b"\\r\\n\\r\\n")
            writer.write(answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]), backlog=1024)
    await server.serve_forever()
asyncio.run(main())
"""
NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/made.conf;
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        location / {{
            proxy_pass http://shop;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream error timeout;
        }}
    }}
}}
"""
HAPROXY = """
global
    stats socket {folder}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
    option idle-close-on-response
    option redispatch
    retries 3
    retry-on conn-failure empty-response
frontend web
    bind 127.0.0.1:{port}
    default_backend shop
"""


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        sys.exit(f"{name} is not installed")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in (("Procfile", b"web: python3 server.py\n"), ("server.py", SERVER)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; at the end it is asked to end, and waited for."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(is_so: Callable[[], bool], what: str, limit: float = 30.0) -> None:
    end = time.monotonic() + limit
    while not is_so():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {limit:g} s")
        time.sleep(0.05)


class Agent:
    """An agent, asked by HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: bytes = b"") -> Any:
        request = urllib.request.Request(f"{self.url}{path}", data=body, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def is_up(self) -> bool:
        try:
            self.ask("GET", "/health")
        except OSError:
            return False
        return True


class Checker(threading.Thread):
    """Asks one request after the other on one connection, and looks at each answer.

    asked: how many.
    faults: what was wrong.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.done = 0
        self.asked = 0
        self.faults: list[str] = []
        self.stop = False

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stop:
            least = self.done
            self.asked += 1
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, http.client.HTTPException) as exc:
                self.faults.append(f"{type(exc).__name__}: {exc}")
                connection.close()
                continue
            found = re.fullmatch(r"release (\d+)\n", text)
            if answer.status != 200 or found is None or int(found[1]) < least:
                self.faults.append(f"{answer.status} {text!r}, release {least} had been done")


def start_proxy(kind: str, folder: Path, stack: ExitStack) -> tuple[int, str]:
    """Start a proxy; return its port, and the command that lets it read its file again."""
    port = free_port()
    if kind == "nginx":
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        command = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        if getpass.getuser() == "root":
            command += ["-g", "user root;"]
        reload = f"kill -HUP $(cat {folder}/nginx.pid)"
    else:
        base = folder / "base.cfg"
        base.write_text(HAPROXY.format(folder=folder, port=port))
        pid = folder / "haproxy.pid"
        command = [program("haproxy"), "-W", "-p", str(pid), "-f", str(base)]
        command += ["-f", str(folder / "made.conf")]
        reload = f"kill -USR2 $(head -1 {pid})"
    proxy = stack.enter_context(running(*command))
    if kind == "haproxy":
        pid.write_text(f"{proxy.pid}\n")
    return port, reload


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def measure(kind: str, deploys: int) -> bool:
    """Deploy so often behind a proxy; return whether all went well."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploys-")))
        agent = Agent(free_port())
        command = [sys.executable, "-m", "smartmob_agent", f"--port={agent.url.rpartition(':')[2]}"]
        command += [f"--work-dir={folder / 'work'}", f"--ports={PORTS}"]
        stack.enter_context(running(*command))
        wait_until(agent.is_up, "the agent")
        source = agent.ask("PUT", "/upload-source", archive())["source_url"]
        body = {
            "source_url": source,
            "processes": {"web": {"count": 2, "ready": {"port": True, "interval": 0.1}}},
            "watch": 0.5,
            "drain": 3,
        }
        put = json.dumps(body).encode()
        agent.ask("PUT", "/apps/shop?wait=1", put)
        name = {"nginx": "nginx.conf.j2", "haproxy": "haproxy.cfg.j2"}[kind]
        render = [sys.executable, "-m", "smartmob_agent.client_cli", "render"]
        render += [f"--agent={agent.url}", str(ROOT / "deploy/render" / name)]
        render += [str(folder / "made.conf")]
        subprocess.run(render, check=True)
        port, reload = start_proxy(kind, folder, stack)
        wait_until(lambda: answers(port), kind)
        stack.enter_context(running(*render, "--follow", f"--then={reload}"))
        checker = Checker(port)
        checker.start()
        load = subprocess.Popen(
            [program("wrk"), "-t1", "-c16", "-d600s", f"http://127.0.0.1:{port}/"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for _ in range(deploys):
                checker.done = agent.ask("PUT", "/apps/shop?wait=1", put)["release"]
        finally:
            load.send_signal(signal.SIGINT)
            said = load.communicate()[0]
            checker.stop = True
            checker.join()
        return report(kind, deploys, said, checker)


def report(kind: str, deploys: int, said: str, checker: Checker) -> bool:
    found = re.search(r"(\d+) requests in", said)
    requests = int(found[1]) if found else 0
    errors = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said
    )
    connect, read, write, late = map(int, errors.groups()) if errors else (0, 0, 0, 0)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    failed = connect + late + (int(bad[1]) if bad else 0)
    faults = [fault for fault in checker.faults if not fault.startswith(RESETS)]
    resets = read + write + len(checker.faults) - len(faults)
    if kind != "nginx":
        failed += resets
    print(
        f"{kind}: {deploys} deploys, {requests} requests of wrk, {failed} failed, {resets} resets; "
        f"{checker.asked} answers looked at, {len(faults)} wrong"
    )
    for fault in faults[:5]:
        print(f"  {fault}")
    return requests > 0 and not failed and not faults


def measure_slots() -> bool:
    """Deploy to 20 slots; return whether that takes as long as it may."""
    drain = 1.0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deploys-")))
        agent = Agent(free_port())
        command = [sys.executable, "-m", "smartmob_agent", f"--port={agent.url.rpartition(':')[2]}"]
        command += [f"--work-dir={folder / 'work'}", f"--ports={PORTS}"]
        stack.enter_context(running(*command))
        wait_until(agent.is_up, "the agent")
        body = {
            "source_url": agent.ask("PUT", "/upload-source", archive())["source_url"],
            "processes": {"web": {"count": 20, "ready": {"port": True, "interval": 0.05}}},
            "parallel": 5,
            "watch": 0,
            "drain": drain,
        }
        put = json.dumps(body).encode()
        begun = time.monotonic()
        agent.ask("PUT", "/apps/shop?wait=1", put)
        start_up = (time.monotonic() - begun) / 4
        most, stop = 0, threading.Event()

        def count() -> None:
            nonlocal most
            while not stop.wait(0.05):
                found = [one for one in Path("/proc").glob("[0-9]*/environ") if is_shop(one)]
                most = max(most, len(found))

        counter = threading.Thread(target=count, daemon=True)
        counter.start()
        begun = time.monotonic()
        agent.ask("PUT", "/apps/shop?wait=1", put)
        took = time.monotonic() - begun
        stop.set()
        counter.join()
        agent.ask("DELETE", "/apps/shop")
    ratio = took / (4 * (start_up + drain))
    print(
        f"slots: start-up of five {start_up:.2f} s, deploy {took:.2f} s: {ratio:.2f} times "
        f"4 x (start-up + drain); at most {most} children"
    )
    return ratio <= 1.25 and most <= 25


def is_shop(environ: Path) -> bool:
    """Whether it is of a server, and not of a shell on its way to one."""
    try:
        is_python = "python" in (environ.parent / "exe").readlink().name
        return is_python and b"SMARTMOB_APP=shop" in environ.read_bytes()
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", nargs="*", help="nginx, haproxy, slots")
    parser.add_argument("--deploys", type=int, default=20, metavar="N")
    options = parser.parse_args()
    kinds = options.kind or ["nginx", "haproxy", "slots"]
    results = [
        measure_slots() if kind == "slots" else measure(kind, options.deploys) for kind in kinds
    ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
