"""The command smartmob: how soon help and `ps` are there, and how fast `logs` writes to a pipe.

    python bench/smartmob.py                 all, medians
    python bench/smartmob.py --small         does it work?

What is demanded: `smartmob --help` in 200 ms, `smartmob ps` in 500 ms, 300,000 lines/s.  The agent
runs on the same machine, and so does its child, which has written all lines before `logs`
begins; with `-f` the log is read to its last line and then left.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import pty
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

SMARTMOB = [sys.executable, "-m", "smartmob_agent.client_cli"]
LINE = b"%09d abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqr\n"
CHILD = f"""
import os, time
for n in range(0, COUNT, 1000):
    data = b"".join({LINE!r} % i for i in range(n, n + 1000))
    while data:
        data = data[os.write(1, data):]
time.sleep(1000)
"""


@contextlib.contextmanager
def agent() -> Iterator[str]:
    """Run an agent whose consoles hold all that is written here; yields its URL."""
    command = [sys.executable, "-m", "smartmob_agent", "--port=0", "--stop-timeout=0"]
    process = subprocess.Popen(
        [*command, f"--console-bytes={1 << 30}"], stderr=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stderr is not None
    found = re.search(rb"event=bind url=(\S+)", process.stderr.readline())
    assert found is not None
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        yield found[1].decode()
    finally:
        process.terminate()
        process.wait()


def call(url: str, method: str, path: str, body: bytes | None = None) -> dict[str, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status >= 400:
        raise ValueError(text)
    document: dict[str, str] = (
        json.loads(text) if text.startswith(b"{") else {"text": text.decode()}
    )
    return document


def flood(url: str, count: int) -> None:
    """Have a process that has written so many lines."""
    buffer = io.BytesIO()
    files = {"Procfile": b"web: exec python3 -S child.py\n", "child.py": CHILD.encode()}
    files["child.py"] = files["child.py"].replace(b"COUNT", b"%d" % count)
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    source = call(url, "PUT", "/upload-source", buffer.getvalue())["source_url"]
    order = {"app": "bench", "node": "0", "process_type": "web", "source_url": source}
    call(url, "POST", "/create-process", json.dumps(order).encode())
    last = f"{count - 1:09d} "
    while not call(url, "GET", "/process-log/bench.0?tail=1")["text"].startswith(last):
        time.sleep(0.1)


def seconds(*argv: str, env: dict[str, str]) -> float:
    """How long a command takes."""
    begin = time.perf_counter()
    subprocess.run([*SMARTMOB, *argv], check=True, stdout=subprocess.DEVNULL, env=env)
    return time.perf_counter() - begin


def seconds_on_terminal(*argv: str, env: dict[str, str]) -> float:
    """The same where there are tables and colours."""
    main, child = pty.openpty()
    begin = time.perf_counter()
    with subprocess.Popen([*SMARTMOB, *argv], stdin=child, stdout=child, stderr=child, env=env):
        os.close(child)
        with contextlib.suppress(OSError):  # EIO: nobody writes to it any more.
            while os.read(main, 65536):
                pass
    os.close(main)
    return time.perf_counter() - begin


def lines_per_second(*options: str, count: int, env: dict[str, str]) -> float:
    """How fast a log comes, the start of the command included."""
    begin = time.perf_counter()
    command = [*SMARTMOB, "logs", "bench.0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        left = count
        while left and (data := os.read(process.stdout.fileno(), 1 << 20)):
            left -= data.count(b"\n")
        took = time.perf_counter() - begin
        process.terminate()
    if left:
        raise ValueError(f"{left} lines are missing")
    return count / took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="little load: does it work?")
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    repeats, count = (1, 10_000) if options.small else (options.repeats, 2_000_000)
    with tempfile.TemporaryDirectory() as home, agent() as url:
        config = str(Path(home) / "none")
        env = {**os.environ, "SMARTMOB_AGENT": url, "SMARTMOB_CONFIG": config}
        for name, run in (("--help", seconds), ("ps", seconds), ("ps", seconds_on_terminal)):
            median = statistics.median(run(name, env=env) for _ in range(repeats))
            where = f"{name} (tty)" if run is seconds_on_terminal else name
            print(f"smartmob {where:12} {median * 1e3:12,.0f} ms", flush=True)
        flood(url, count)
        for argv in ([], ["-f"]):
            speeds = (lines_per_second(*argv, count=count, env=env) for _ in range(min(repeats, 3)))
            name = " ".join(["logs", *argv])
            print(f"smartmob {name:12} {statistics.median(speeds):12,.0f} lines/s", flush=True)


if __name__ == "__main__":
    main()
