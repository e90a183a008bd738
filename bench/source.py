"""Sources: how fast an archive becomes an app, and what bombs cost the agent.

    python bench/source.py [--repeats N] [--only speed|many|bombs]

- speed: download and unpack of an archive of 50 MB with 5,000 real files, those of the Python
  that runs this, by an agent and by `curl | tar x`
- many: a zip of 99,000 small files, by an agent and by `unzip`
- bombs: for each, how it ends and when, by how much the agent's memory grew, what is left on the
  disk, and the slowest answer to a request meanwhile; beside it that of an idle agent, which
  tells what the machine alone is to blame for

All is on 127.0.0.1.  Figures of one run may be compared with each other.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import http.client
import http.server
import json
import lzma
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

FILES, BYTES = 5000, 50_000_000
SHRINKS = 3.4
"""Bytes of such files for each one of a tar.gz of them, about."""
MANY = 99_000
LIMIT = 300.0
FINAL = {"running", "backoff", "download failure", "unpack failure", "no procfile"}
MiB = 1024 * 1024


class Agent:
    """An agent that runs, with its log."""

    def __init__(self, directory: Path) -> None:
        argv = [sys.executable, "-m", "smartmob_agent", "--port=0", "--log-format=json"]
        self.work = directory / "work"
        self.process = subprocess.Popen(
            [*argv, f"--work-dir={self.work}"], stderr=subprocess.PIPE, text=True
        )
        self.events: list[dict[str, Any]] = []
        self.logged = threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.address = str(self.wait(event="bind")["url"]).removeprefix("http://")

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self.logged:
                self.events.append({**json.loads(line), "read": time.monotonic()})
                self.logged.notify_all()

    def find(self, fields: dict[str, object]) -> dict[str, Any] | None:
        return next((event for event in self.events if fields.items() <= event.items()), None)

    def wait(self, **fields: object) -> dict[str, Any]:
        with self.logged:
            assert self.logged.wait_for(lambda: self.find(fields), LIMIT), fields
        return self.find(fields) or {}

    def run(self, url: str, app: str) -> tuple[float, dict[str, Any]]:
        """Create a process; seconds until it has unpacked, and the event that tells."""
        slug = f"{app}.bench"
        request = {"app": app, "node": "bench", "process_type": "web", "source_url": url}
        began = time.monotonic()
        self.ask("POST", "/create-process", request)

        def ended() -> dict[str, Any] | None:
            states = [self.find({"event": "state", "slug": slug, "state": s}) for s in FINAL]
            return next(filter(None, states), None)

        with self.logged:
            assert self.logged.wait_for(ended, LIMIT)
        event = ended() or {}
        return event["read"] - began, event

    def delete(self, app: str) -> None:
        self.ask("POST", f"/delete-process/{app}.bench", {})

    def ask(self, method: str, path: str, body: object = None) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=LIMIT)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        assert answer.status in {200, 201}, answer.read()
        answer.read()
        connection.close()

    def status(self, key: str) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(key + ":")[1].split()[0]) * 1024

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.reader.join()


@contextmanager
def agent(directory: Path) -> Iterator[Agent]:
    directory.mkdir()
    running = Agent(directory)
    try:
        yield running
    finally:
        running.close()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its signature
        """Be silent."""


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    handler = partial(Handler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def real_files() -> list[Path]:
    """So many of the files of this Python that they make an archive of the size."""
    roots = {sysconfig.get_paths()[key] for key in ("stdlib", "purelib")}
    found = {path for root in roots for path in Path(root).rglob("*") if path.is_file()}
    sizes = sorted((path.stat().st_size, str(path)) for path in found if not path.is_symlink())
    sizes = [(size, path) for size, path in sizes if size < MiB]
    for skip in range(0, max(len(sizes) - FILES, 1), 100):
        left = sizes[skip:]
        chosen = [left[n * len(left) // FILES] for n in range(FILES)]
        if sum(size for size, _ in chosen) >= BYTES * SHRINKS:
            break
    return sorted(Path(path) for _, path in chosen)


def pack_real(directory: Path) -> None:
    files = real_files()
    top = os.path.commonpath(files)
    (directory / "Procfile").write_text("web: exec sleep 1000\n")
    names = {path: os.path.relpath(path, top) for path in files[1:]}
    names[directory / "Procfile"] = "Procfile"
    with tarfile.open(directory / "real.tar.gz", "w:gz", compresslevel=6) as tar:
        for path, name in names.items():
            tar.add(path, name)
    with zipfile.ZipFile(directory / "real.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in names.items():
            archive.write(path, name)


def timed(command: str, directory: Path) -> float:
    """Seconds of a shell command in a directory that is made for it."""
    directory.mkdir()
    began = time.monotonic()
    subprocess.run(command, shell=True, check=True, cwd=directory, stdout=subprocess.DEVNULL)
    taken = time.monotonic() - began
    shutil.rmtree(directory)
    return taken


def compare(name: str, command: str, directory: Path, url: str, repeats: int) -> None:
    """An agent of its own each time: it would not download twice."""
    ours, theirs = [], []
    for number in range(repeats):
        theirs.append(timed(command, directory / f"theirs-{number}"))
        with agent(directory / f"ours-{name}-{number}") as running:
            taken, event = running.run(url, "app")
            assert event["state"] in {"running", "no procfile"}, event
            ours.append(taken)
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{name:12} agent {a:6.2f} s   {command.split('|')[-1].split()[0]} {b:6.2f} s"
          f"   {b / a:5.2f} times as fast", flush=True)  # fmt: skip


def speed(directory: Path, url: str, repeats: int) -> None:
    pack_real(directory)
    for name in ("real.tar.gz", "real.zip"):
        print(f"{name}: {(directory / name).stat().st_size / 1e6:.0f} MB, {FILES} files")
    curl = f"curl -sS {url}/real"
    compare("real.tar.gz", f"{curl}.tar.gz | tar xz", directory, f"{url}/real.tar.gz", repeats)
    unzip = f"{curl}.zip -o a.zip; true | unzip -q a.zip"
    compare("real.zip", unzip, directory, f"{url}/real.zip", repeats)


def pack_many(path: Path, count: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Procfile", "web: exec sleep 1000\n")
        for number in range(count):
            archive.writestr(f"{number // 100}/{number}", "x")


def many(directory: Path, url: str, repeats: int) -> None:
    pack_many(directory / "many.zip", MANY - MANY // 100 - 1)
    unzip = f"curl -sS {url}/many.zip -o a.zip; true | unzip -q a.zip"
    compare("many.zip", unzip, directory, f"{url}/many.zip", repeats)


def tar_header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def write_zeros(file: Any, count: int) -> None:
    for _ in range(count):
        file.write(bytes(MiB))


def pack_zeros(path: Path, opened: Callable[..., Any], **options: object) -> None:
    """A file of 2 GiB, after one that does not shrink: so the ratio alone does not refuse it."""
    with opened(path, "wb", **options) as file:
        file.write(tar_header("noise", 12 * MiB) + os.urandom(12 * MiB))
        file.write(tar_header("zeros", 2048 * MiB))
        write_zeros(file, 2048)
        file.write(tar_header("more", 2048 * MiB))


def pack_behind(path: Path, opened: Callable[..., Any], **options: object) -> None:
    """500 MiB behind the end of an archive."""
    with opened(path, "wb", **options) as file:
        write_zeros(file, 500)


def pack_pax(path: Path) -> None:
    """As many records as the budget for headers lets through."""
    records = b"6 a=b\n" * 30
    header = tar_header("x", len(records), b"x") + records + bytes(-len(records) % 512)
    with gzip.open(path, "wb", 1) as file:
        for number in range(50_000):
            file.write(header + tar_header(f"{number}", 0))
        file.write(tar_header("x", 300 * MiB, b"x"))
        write_zeros(file, 300)


def pack_links(path: Path) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for number in range(100_001):
            info = tarfile.TarInfo(f"{number}")
            info.type, info.linkname = tarfile.SYMTYPE, "x" * 50
            tar.addfile(info)


def pack_zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("noise", os.urandom(12 * MiB))
        with archive.open("zeros", "w", force_zip64=True) as file:
            write_zeros(file, 4096)


def pack_streams(path: Path) -> None:
    path.write_bytes(gzip.compress(tar_header("x", 0)) + gzip.compress(b"") * 100_001)


def pack_nested(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(10):
            archive.write(path.with_name("zip"), f"{number}.zip")


WIDE = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 * MiB}]
BOMBS: dict[str, Callable[[Path], None]] = {
    "zip": pack_zip_bomb,
    "gzip": partial(pack_zeros, opened=gzip.open, compresslevel=1),
    "bzip2": partial(pack_behind, opened=bz2.open),
    "xz": partial(pack_behind, opened=lzma.open, filters=WIDE),
    "nested": pack_nested,
    "pax header": pack_pax,
    "tiny files": partial(pack_many, count=99_500),
    "links": pack_links,
    "streams": pack_streams,
}


class Prober:
    """Asks for the index again and again, and keeps how long the answers took."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.taken: list[float] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.stop.wait(0.005):
            connection = http.client.HTTPConnection(self.address, timeout=LIMIT)
            connection.connect()
            began = time.monotonic()
            connection.request("GET", "/")
            connection.getresponse().read()
            self.taken.append(time.monotonic() - began)
            connection.close()

    def worst(self) -> float:
        """In milliseconds, since it was last asked."""
        taken, self.taken = self.taken, []
        return max(taken, default=0.0) * 1000

    def close(self) -> None:
        self.stop.set()
        self.thread.join()


def bombs(directory: Path, url: str, _repeats: int) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(agent(directory / "agent"))
        idle = stack.enter_context(agent(directory / "idle"))
        probers = [Prober(each.address) for each in (running, idle)]
        for prober in probers:
            stack.callback(prober.close)
        [own] = running.work.iterdir()
        print("bomb             s   MiB   left   worst ms (idle agent)   ends as")
        for name, pack in BOMBS.items():
            file = name.replace(" ", "-")
            pack(directory / file)
            before = running.status("VmRSS")
            Path(f"/proc/{running.process.pid}/clear_refs").write_text("5")
            for prober in probers:
                prober.worst()
            taken, event = running.run(f"{url}/{file}", file)
            worst = [prober.worst() for prober in probers]
            grown = (running.status("VmHWM") - before) / MiB
            running.delete(file)
            left = [path.name for path in own.iterdir() if path.name != "cache"]
            print(f"{name:12} {taken:5.1f} {grown:5.0f} {len(left):6} {worst[0]:10.1f} "
                  f"({worst[1]:5.1f})         {event['state']}", flush=True)  # fmt: skip
            if name != "zip":
                (directory / file).unlink()


PARTS = {"speed": speed, "many": many, "bombs": bombs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=PARTS)
    options = parser.parse_args()
    for name, part in PARTS.items():
        if options.only in {None, name}:
            with tempfile.TemporaryDirectory() as top, serving(Path(top)) as url:
                part(Path(top), url, options.repeats)


if __name__ == "__main__":
    main()
