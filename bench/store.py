"""How soon 50 processes from one source run, and how often its server is asked.

    python bench/store.py [--processes N] [--repeats N]

An agent of its own for each line; the app is small and sleeps.  `seconds`: from the first create
request until all run; `GETs`: how many its server saw, in all and with an archive as the answer.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import http.server
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

LIMIT = 60.0
"""Seconds for all to run."""


def make_archive() -> bytes:
    """Pack a Procfile, a script and a megabyte beside them."""
    files = {
        "Procfile": b"web: exec sh ./run.sh\n",
        "run.sh": b"exec sleep 1000\n",
        "data": os.urandom(1 << 20),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = make_archive()
DIGEST = hashlib.sha256(ARCHIVE).hexdigest()


class Source(http.server.ThreadingHTTPServer):
    """Serves the archive and counts; some servers tell an ETag."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, etag: str | None) -> None:
        super().__init__(("127.0.0.1", 0), SourceHandler)
        self.etag = etag
        self.statuses: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/app.tar.gz"


class SourceHandler(http.server.BaseHTTPRequestHandler):
    server: Source

    def do_GET(self) -> None:
        known = self.server.etag and self.headers["If-None-Match"] == self.server.etag
        self.server.statuses.append(304 if known else 200)
        self.send_response(self.server.statuses[-1])
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        self.send_header("Content-Length", "0" if known else str(len(ARCHIVE)))
        self.end_headers()
        if not known:
            self.wfile.write(ARCHIVE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its signature
        """Be silent."""


@contextmanager
def serving(etag: str | None) -> Iterator[Source]:
    with Source(etag) as source:
        thread = threading.Thread(target=source.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield source
        finally:
            source.shutdown()
            thread.join()


@contextmanager
def agent(directory: str) -> Iterator[str]:
    """Run an agent; host and port."""
    argv = [sys.executable, "-m", "smartmob_agent", "--port=0", f"--work-dir={directory}"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            for line in process.stderr:
                if match := re.search(r"url=http://(\S+)", line):
                    break
            drain = threading.Thread(target=process.stderr.read)
            drain.start()
            yield match[1] if match else ""
        finally:
            process.terminate()
            process.wait()
            drain.join()


def ask(address: str, method: str, path: str, body: bytes | None = None) -> dict[str, object]:
    connection = http.client.HTTPConnection(address, timeout=LIMIT)
    connection.request(method, path, body)
    answer = connection.getresponse()
    document: dict[str, object] = json.load(answer)
    connection.close()
    assert answer.status in {200, 201}, document
    return document


def create(address: str, fields: dict[str, str], number: int) -> None:
    request = {"app": "bench", "node": f"{number}", "process_type": "web", **fields}
    ask(address, "POST", "/create-process", json.dumps(request).encode())


def by_curl(address: str, fields: dict[str, str], numbers: range) -> None:
    """One curl for each."""
    processes = []
    for number in numbers:
        request = {"app": "bench", "node": f"{number}", "process_type": "web", **fields}
        url = f"http://{address}/create-process"
        argv = ["curl", "-sS", "-o", "/dev/null", "-d", json.dumps(request), url]
        processes.append(subprocess.Popen(argv))
    assert not any(process.wait() for process in processes)


def by_threads(address: str, fields: dict[str, str], numbers: range) -> None:
    with ThreadPoolExecutor(len(numbers)) as pool:
        list(pool.map(partial(create, address, fields), numbers))


def by_turns(address: str, fields: dict[str, str], numbers: range) -> None:
    for number in numbers:
        create(address, fields, number)


def wait_running(address: str, count: int) -> None:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        processes = ask(address, "GET", "/list-processes")["processes"]
        assert isinstance(processes, list)
        if [process["state"] for process in processes].count("running") == count:
            return
        time.sleep(0.02)
    raise SystemExit(f"not all run after {LIMIT} s: {processes}")


Creator = Callable[[str, dict[str, str], range], None]


def measure(by: Creator, count: int, *, etag: str | None, known: bool) -> tuple[float, int, int]:
    """Seconds, requests and archives.

    known: create one first, and give the digest.
    """
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(etag) as source,
        agent(directory) as address,
    ):
        fields = {"source_url": source.url}
        if known:
            fields["source_sha256"] = DIGEST
            create(address, fields, count)
            wait_running(address, 1)
        began = time.monotonic()
        by(address, fields, range(count))
        wait_running(address, count + known)
        taken = time.monotonic() - began
    return taken, len(source.statuses) - known, source.statuses.count(200) - known


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.processes} processes         seconds: median, most   GETs: most (archives)")
    for name, by in (("threads", by_threads), ("curl", by_curl), ("in turn", by_turns)):
        for kind, etag, known in (
            ("", None, False),
            ("ETag", '"1"', False),
            ("digest", None, True),
        ):
            runs = [
                measure(by, options.processes, etag=etag, known=known)
                for _ in range(options.repeats)
            ]
            times, requests, archives = zip(*runs, strict=True)
            print(
                f"  {name:8} {kind:8}       {statistics.median(times):11.2f} {max(times):9.2f}"
                f"  {max(requests):10} ({max(archives)})",
                flush=True,
            )


if __name__ == "__main__":
    main()
