"""What a build costs the first process of a source, and what it costs the others.

    python bench/build.py [--processes N] [--files N] [--modules N] [--repeats N]

The first line: an app gets a virtual environment with a package of many modules, by venv and pip.
Seconds from the create request until it runs, for the first process and for a second one, which
copies what the first has built.  The second line: how long a delete takes that ends a build.  The
others: how soon many processes of one app run that were created at once, while a build makes
thousands of files; and how many builds there were.

ext4 makes files tens of times slower where many were removed in the last minute (its function
recently_deleted(), which `perf top` shows): run it on a quiet disk, or with TMPDIR on a tmpfs.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

LIMIT = 300.0
"""Seconds for anything."""
MOST_SHARE = 1 / 20
"""Of the first one's time, which a second process may take."""
MOST_DELETE_SECONDS = 0.5
MOST_SECONDS = 10.0
"""Until all processes run."""

PIP = """\
import subprocess, sys
app, env, cache = sys.argv[1:]
subprocess.check_call([sys.executable, "-m", "venv", ".venv"])
python = f"{app}/.venv/bin/python"
install = [python, "-m", "pip", "install", "--quiet", "--no-index"]
subprocess.check_call([*install, "many-1-py3-none-any.whl"])
open(f"{env}/PATH.prepend", "w").write("$APP_DIR/.venv/bin")
"""
FILES = """\
import pathlib, sys
for number in range(int(pathlib.Path("files").read_text())):
    path = pathlib.Path("made", str(number // 50), f"{number}.py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x = 1\\n" * (number % 200 + 1))
"""


def tar(files: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def wheel(modules: int) -> bytes:
    """Make a package of many modules."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("many/__init__.py", "")
        for number in range(modules):
            text = f"def f{number}(x):\n    return x + {number}\n" * 20
            archive.writestr(f"many/m{number}.py", text)
        info = "many-1.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: many\nVersion: 1\n")
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()


@contextmanager
def builder(program: str) -> Iterator[Path]:
    """A directory with a builder that takes every app."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        scripts = {"detect": "", "build": program}
        for script, text in scripts.items():
            path = directory / script
            path.write_text(f"#!{sys.executable}\n{text}")
            path.chmod(0o755)
        yield directory


@contextmanager
def agent(*options: str) -> Iterator[str]:
    """Run an agent; host and port."""
    argv = [sys.executable, "-m", "smartmob_agent", "--port=0", *options]
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(
            [*argv, f"--work-dir={directory}"], stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr
        drain = None
        try:
            for line in process.stderr:
                if match := re.search(r"url=http://(\S+)", line):
                    break
            else:
                raise SystemExit("the agent did not start")
            drain = threading.Thread(target=process.stderr.read)
            drain.start()
            yield match[1]
        finally:
            process.terminate()
            process.wait()
            if drain:
                drain.join()


def ask(address: str, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection(address, timeout=LIMIT)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        document: dict[str, Any] = json.load(answer)
    assert answer.status in {200, 201}, document
    return document


def create(address: str, source: str, number: int) -> None:
    request = {"app": "bench", "node": str(number), "process_type": "web", "source_url": source}
    ask(address, "POST", "/create-process", json.dumps(request).encode())


def wait_running(address: str, count: int) -> list[dict[str, Any]]:
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        processes: list[dict[str, Any]] = ask(address, "GET", "/list-processes")["processes"]
        if [process["state"] for process in processes].count("running") == count:
            return processes
        if failed := [one["error"] for one in processes if one["state"].endswith("failure")]:
            raise SystemExit(failed[0])
        time.sleep(0.02)
    raise SystemExit(f"not all run after {LIMIT} s: {processes}")


def measure_second(modules: int) -> tuple[float, float]:
    """Seconds of the first process, and of the second."""
    files = {"Procfile": "web: exec sleep 1000\n", "many-1-py3-none-any.whl": wheel(modules)}
    with builder(PIP) as directory, agent(f"--builder={directory}") as address:
        source = ask(address, "PUT", "/upload-source", tar(files))["source_url"]
        times = []
        for number in range(2):
            began = time.monotonic()
            create(address, source, number)
            wait_running(address, number + 1)
            times.append(time.monotonic() - began)
    return times[0], times[1]


def measure_many(processes: int, files: int) -> tuple[float, int]:
    """Seconds until all run, and the number of builds."""
    app = {"Procfile": "web: exec sleep 1000\n", "files": str(files)}
    options = ["--max-start-rate=0"]
    with builder(FILES) as directory, agent(f"--builder={directory}", *options) as address:
        source = ask(address, "PUT", "/upload-source", tar(app))["source_url"]
        began = time.monotonic()
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(partial(create, address, source), range(processes)))
        statuses = wait_running(address, processes)
        taken = time.monotonic() - began
    return taken, [status["build"]["cached"] for status in statuses].count(False)


def measure_deletes(count: int) -> list[float]:
    """Seconds of deletes, each in the middle of a build."""
    program, times = "import time; time.sleep(1000)", []
    with builder(program) as directory, agent(f"--builder={directory}") as address:
        source = ask(address, "PUT", "/upload-source", tar({"Procfile": "web: true\n"}))
        for number in range(count):
            create(address, source["source_url"], number)
            slug = f"bench.{number}"
            while ask(address, "GET", f"/process-status/{slug}")["state"] != "building":
                time.sleep(0.01)
            time.sleep(0.2)
            began = time.monotonic()
            ask(address, "POST", f"/delete-process/{slug}", b"{}")
            times.append(time.monotonic() - began)
    return times


def judge(value: float, most: float) -> str:
    return "as it should be" if value <= most else f"too much: at most {most:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--modules", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    runs = [measure_second(options.modules) for _ in range(options.repeats)]
    first, second = (statistics.median(times) for times in zip(*runs, strict=True))
    print(
        f"first process {first:.2f} s, second {second:.2f} s, 1/{first / second:.0f}:",
        judge(second / first, MOST_SHARE),
        flush=True,
    )
    deletes = measure_deletes(20)
    print(
        f"delete during a build: {statistics.median(deletes) * 1000:.0f} ms,"
        f" {max(deletes) * 1000:.0f} ms at most:",
        judge(max(deletes), MOST_DELETE_SECONDS),
        flush=True,
    )
    for _ in range(options.repeats):
        taken, builds = measure_many(options.processes, options.files)
        print(
            f"{options.processes} processes of one source, {options.files} files each:"
            f" {taken:.2f} s ({judge(taken, MOST_SECONDS)}), builds: {builds} ({judge(builds, 1)})",
            flush=True,
        )


if __name__ == "__main__":
    main()
