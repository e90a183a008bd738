"""What a state that lasts costs: creates, the way back after a restart, and an idle agent.

    python bench/state.py                 all
    python bench/state.py --small         does it work?
    python bench/state.py back            one part: creates, back or idle
    python bench/state.py --directory D   with the state below D, so on its disk

- creates answered a second, with `--state-dir` and without, by one client and by eight, in turns in
  one run; the processes run, and are deleted between the rounds
- 500 processes after SIGKILL: seconds from the start of the agent until all run, beside what
  `--max-start-rate` (50) alone needs
- what an idle agent of 20 processes writes to the disk, by /proc/PID/io of all that it consists of

All is on 127.0.0.1.  Children, clients and agents share the machine, and a busy one spoils the
figures.  The targets, which it says of each figure whether it meets: creates at least 0.5 times
those without, back within 1.2 times what the rate needs, nothing written.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parent.parent
PROCFILE = b"web: exec sleep 1000000\n"
RATE = 50
LEAST_CREATES = 0.5
MOST_BACK = 1.2


def judge(is_met: bool, wanted: str) -> str:
    return f"{wanted}: {'ok' if is_met else 'NOT'}"


@contextmanager
def source() -> Iterator[str]:
    """Serve the app; yield its URL."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("Procfile")
        member.size = len(PROCFILE)
        tar.addfile(member, io.BytesIO(PROCFILE))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(buffer.getvalue())))
            self.end_headers()
            self.wfile.write(buffer.getvalue())

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/app.tar.gz"
        server.shutdown()
        thread.join()


@attrs.define(eq=False)
class Agent:
    """The command, and what it logs.

    began: when it was started, in seconds of `time.perf_counter`.
    """

    process: subprocess.Popen[str]
    began: float
    port: int = 0
    running: list[float] = attrs.field(factory=list)
    _changed: threading.Condition = attrs.field(factory=threading.Condition)

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            event = json.loads(line)
            with self._changed:
                if event["event"] == "bind":
                    self.port = int(event["url"].rsplit(":", 1)[1])
                elif event.get("state") == "running":
                    self.running.append(time.perf_counter() - self.began)
                self._changed.notify_all()

    def wait_bound(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.port)

    def wait_running(self, count: int) -> float:
        """Return the seconds from the start until so many processes ran."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.running) >= count)
            return self.running[count - 1]

    def post(self, connection: http.client.HTTPConnection, path: str, body: object) -> int:
        connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        answer.read()
        return answer.status


@contextmanager
def agent(*options: str) -> Iterator[Agent]:
    command = [sys.executable, "-m", "smartmob_agent", "--port=0", "--log-format=json", *options]
    command += ["--log-level=info", "--stop-timeout=2"]
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        one = Agent(process, began)
        reader = threading.Thread(target=one.read)
        reader.start()
        try:
            one.wait_bound()
            yield one
        finally:
            process.terminate()
            process.wait()
            reader.join()


def each(agent: Agent, clients: int, numbers: Sequence[int], path: str, bodies: Any) -> float:
    """Post something for each number, by some clients at once; return requests a second."""

    def some(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", agent.port)
        for number in numbers[client::clients]:
            status = agent.post(connection, path.format(number), bodies(number))
            assert status in (200, 201), status
        connection.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(some, range(clients)))
    return len(numbers) / (time.perf_counter() - began)


def request(url: str, number: int) -> dict[str, str]:
    app = f"app{number}"
    return {"app": app, "node": "web.0", "process_type": "web", "source_url": url}


def create(agent: Agent, url: str, clients: int, count: int) -> float:
    return each(agent, clients, range(count), "/create-process", lambda one: request(url, one))


def delete(agent: Agent, count: int) -> None:
    each(agent, 8, range(count), "/delete-process/app{}.web.0", lambda _: {})


def measure_creates(url: str, directory: str, rounds: int, count: int) -> None:
    with agent() as without, agent(f"--state-dir={directory}/creates") as lasting:
        for clients in (1, 8):
            taken: dict[str, list[float]] = {"without": [], "with": []}
            for _ in range(rounds):
                for name, one in (("without", without), ("with", lasting)):
                    taken[name].append(create(one, url, clients, count))
                    delete(one, count)
            figures = {name: statistics.median(found) for name, found in taken.items()}
            ratio = figures["with"] / figures["without"]
            print(
                f"creates a second, {clients} clients: {figures['without']:.0f} without, "
                f"{figures['with']:.0f} with --state-dir, {ratio:.2f} times  "
                f"{judge(ratio >= LEAST_CREATES, f'>= {LEAST_CREATES}')}",
                flush=True,
            )


def measure_back(url: str, directory: str, count: int) -> None:
    option = f"--state-dir={directory}/back"
    with agent(option, "--max-start-rate=0") as one:
        create(one, url, 8, count)
        one.wait_running(count)
        one.process.kill()
    needed = (count - 1) // RATE
    with agent(option, f"--max-start-rate={RATE}") as one:
        bound = time.perf_counter() - one.began
        took = one.wait_running(count)
        first = one.running[0]
    ratio = took / max(needed, 1)
    print(
        f"{count} processes after SIGKILL: bound after {bound:.1f} s, the first runs after "
        f"{first:.1f} s, all after {took:.1f} s; the rate alone needs {needed} s: {ratio:.2f} "
        f"times  {judge(ratio <= MOST_BACK, f'<= {MOST_BACK}')}",
        flush=True,
    )


def written(pid: int) -> int:
    """Bytes that a process and those below it have sent to disks so far (proc_pid_io(5))."""
    total = 0
    fields = Path(f"/proc/{pid}/io").read_text(encoding="ascii").split()
    total += int(fields[fields.index("write_bytes:") + 1])
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text(encoding="ascii")
        total += sum(written(int(child)) for child in children.split())
    return total


def measure_idle(url: str, directory: str, seconds: float) -> None:
    state = Path(directory) / "idle"
    with agent(f"--state-dir={state}") as one:
        create(one, url, 8, 20)
        one.wait_running(20)
        time.sleep(12)  # How often each was started is kept once in ten seconds.
        files = {path: path.stat().st_mtime_ns for path in state.iterdir()}
        before = written(one.process.pid)
        time.sleep(seconds)
        sent = written(one.process.pid) - before
        changed = [path.name for path in files if path.stat().st_mtime_ns != files[path]]
    print(
        f"idle for {seconds:.0f} s: {sent} bytes written, files of the state changed: "
        f"{changed or 'none'}  {judge(not sent and not changed, 'nothing')}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", default=["creates", "back", "idle"])
    parser.add_argument("--small", action="store_true", help="does it work?")
    parser.add_argument("--directory", help="where the state is to be; else for temporary files")
    options = parser.parse_args()
    rounds, count, many, seconds = (1, 10, 60, 1.0) if options.small else (10, 100, 500, 60.0)
    with source() as url, tempfile.TemporaryDirectory(dir=options.directory) as directory:
        if "creates" in options.parts:
            measure_creates(url, directory, rounds, count)
        if "back" in options.parts:
            measure_back(url, directory, many)
        if "idle" in options.parts:
            measure_idle(url, directory, seconds)
