"""Many processes come and go over HTTP, and many agents are killed meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from smartmob_agent.child.guard.kernel import children, look
from tests.e2e.agent import shell_app
from tests.e2e.agents import LIMIT, as_user, users
from tests.e2e.sandbox import Sandbox, open_sandbox
from tests.e2e.served_agent import Served, ask, open_archive

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper (prctl(2))"),
    pytest.mark.slow,
]

CLIENTS = 3
CYCLES, KILLS = 500, 100
"""In all, by all kinds of users."""

APP = shell_app('setsid sleep 1000 & printf ! > "$BELL"; exec sleep 1000')


@pytest.fixture
def source() -> Iterator[str]:
    """The URL of the app."""
    with open_archive(APP) as url:
        yield url


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture(params=users())
def agents(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Served]:
    """Agents of each kind of user, one after the other: the next when the last was killed."""
    argv = [
        *as_user(request.param),
        sys.executable,
        str(Path(__file__).with_name("agent_forker.py")),
    ]
    process = sandbox.start(argv)
    told, tell = process.stdout, process.stdin
    assert told
    assert tell
    told.readline()

    def agents() -> Iterator[Served]:
        while True:
            tell.write(b"\n")
            tell.flush()
            answer = json.loads(told.readline())
            yield Served(sandbox.pid(answer["pid"]), answer["url"], Path(answer["work_dir"]))

    return agents()


class Bell:
    """A pipe with a name, which apps ring when they run."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        self.path = path
        self._fd = os.open(path, os.O_RDWR)

    def wait(self) -> None:
        assert select.select([self._fd], [], [], LIMIT)[0]
        assert os.read(self._fd, 1) == b"!"

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def bells() -> Iterator[list[Bell]]:
    """One for each client."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        bells = [Bell(Path(directory) / str(number)) for number in range(CLIENTS)]
        yield bells
        for bell in bells:
            bell.close()


def create(connection: http.client.HTTPConnection, source: str, app: str, bell: str) -> str:
    answer = ask(
        connection,
        "/create-process",
        {
            "app": app,
            "node": "a",
            "process_type": "web",
            "source_url": source,
            "env": {"BELL": bell},
        },
    )
    return str(answer["slug"])


def cycle(agent: Served, source: str, count: int, bell: Bell) -> None:
    """Create a process, delete it when it runs, so many times."""
    with contextlib.closing(agent.connect()) as connection:
        for number in range(count):
            slug = create(connection, source, f"{bell.path.name}-{number}", str(bell.path))
            bell.wait()
            ask(connection, f"/delete-process/{slug}", {})


def pour(agent: Served, source: str, client: int, created: threading.Semaphore) -> None:
    """Create and delete processes until the agent is gone.

    created: released for each one that the agent has acknowledged.
    """
    with (
        contextlib.closing(agent.connect()) as connection,
        contextlib.suppress(OSError, http.client.HTTPException),
    ):
        for number in itertools.count(client, CLIENTS):
            slug = create(connection, source, f"{number}", "/dev/null")
            created.release()
            if random.random() < 0.2:
                ask(connection, f"/delete-process/{slug}", {})


def weigh(agent: Served) -> dict[str, Any]:
    """What an agent and its zygote have: descriptors, threads, children, zombies, files.

    One descriptor less for each child: the zygote may have a shim in store or not.
    """
    (zygote,) = children(agent.pid)
    assert agent.work_dir
    found: dict[str, Any] = {"files": sorted(agent.work_dir.iterdir())}
    for name, pid in (("agent", agent.pid), ("zygote", zygote)):
        below = [look(child) for child in children(pid)]
        fds, threads = (len([*Path(f"/proc/{pid}/{what}").iterdir()]) for what in ("fd", "task"))
        zombies = sum(1 for process in below if process and not process.is_alive)
        found[name] = (fds - len(below), threads, zombies)
    return found


def weigh_at_rest(agent: Served, expected: dict[str, Any] | None = None) -> dict[str, Any]:
    """The same once it has become what it was, or when it does not within a generous limit."""
    end = time.monotonic() + LIMIT
    with contextlib.closing(agent.connect()) as connection:
        while True:
            ask(connection, "/list-processes")  # it is not idle before it has answered
            found = weigh(agent)
            if found == expected or time.monotonic() > end:
                return found
            if expected is None and found["agent"][1] == 1:
                return found


def test_many_cycles_leave_all_as_it_was(
    agents: Iterator[Served], source: str, bells: list[Bell], sandbox: Sandbox
) -> None:
    agent = next(agents)
    cycle(agent, source, 1, bells[0])
    before = weigh_at_rest(agent)
    count = CYCLES // len(users()) // CLIENTS
    with ThreadPoolExecutor(CLIENTS) as clients:
        running = [clients.submit(cycle, agent, source, count, bell) for bell in bells]
        for client in running:
            client.result()
    assert weigh_at_rest(agent, before) == before


def test_nothing_survives_a_kill_at_any_moment(
    agents: Iterator[Served], source: str, sandbox: Sandbox
) -> None:
    """While processes are created and deleted as fast as may be."""
    mother = sandbox.main_pid()
    for agent in itertools.islice(agents, KILLS // len(users())):
        created = threading.Semaphore(0)
        with ThreadPoolExecutor(CLIENTS) as clients:
            running = [clients.submit(pour, agent, source, n, created) for n in range(CLIENTS)]
            is_busy = created.acquire(timeout=LIMIT)
            select.select([], [], [], random.uniform(0, 0.13))  # the random moment
            os.kill(agent.pid, signal.SIGKILL)
            for client in running:
                client.result()
        assert is_busy
        sandbox.wait_only({mother}, 20)
