"""Output that stays, with the real command: kills, a full disk, and the client's command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.e2e.agent import RunningAgent, archive_server, running_agent, shell_app
from tests.e2e.log_soak import soak

pytestmark = pytest.mark.slow


async def test_readers_see_each_line_or_are_told_over_restarts_and_kills(tmp_path: Path) -> None:
    """`python -m tests.e2e.log_soak` does so with a million lines."""
    it = await soak(tmp_path / "state", 20_000, 3, 2, 4)
    assert it.seen.last >= 20_000


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """Mount a file system of its own; skip where that is not possible."""
    directory.mkdir(mode=0o700, parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(directory)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)  # ours
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr!r}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)  # ours


async def test_a_full_disk_costs_lines_that_are_told_and_nothing_else(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    lines = 'i=0; while [ $i -lt 30000 ]; do echo "$i $P"; i=$((i + 1)); done; echo end'
    app = shell_app(f"P={'x' * 200}; {lines}; exec sleep 1000")
    with small_disk(state / "log", "1M"):
        async with archive_server() as server, running_agent(f"--state-dir={state}") as agent:
            await agent.create(server.add("app", app), ready={"log": "^end$"})
            await agent.wait_event(event="ready")
            await agent.wait_event(event="cannot write the log")
            text = await agent.client.get("/process-log/app.web.0")
            shown = text.text.splitlines()
            gaps = int(text.headers["Lines-Lost"]) + int(text.headers["Lines-Missed"])
            assert (shown[-1], len(shown) + gaps) == ("end", 30_001)
            assert gaps > 0
            metrics = (await agent.client.get("/metrics")).text
            assert re.search(r"smartmob_log_lost_lines_total [1-9]", metrics)


async def smartmob(agent: RunningAgent, *args: str) -> tuple[int, str]:
    done = await trio.run_process(
        [sys.executable, "-m", "smartmob_agent.client_cli", *args, f"--agent={agent.url}"],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    return done.returncode, done.stdout.decode()


async def test_the_morning_after_there_is_something_to_read(tmp_path: Path) -> None:
    options = (f"--state-dir={tmp_path / 'state'}",)
    async with archive_server() as server, running_agent(*options) as agent:
        await agent.create(server.add("app", shell_app("echo out of luck; exit 3")))
        await agent.wait_event(event="state", state="backoff")
        code, why = await smartmob(agent, "why", "app.web.0")
        assert code == 0
        assert "exit code 3" in why
        assert why.endswith("    out of luck\n")
        assert (await smartmob(agent, "why", "other.web.0"))[0] == 4
        await agent.delete("app.web.0")
    async with running_agent(*options) as agent:
        code, text = await smartmob(agent, "logs", "app.web.0", "--since=1h", "--grep=luck$")
        assert (code, text.splitlines()[0]) == (0, "out of luck")
        told = await agent.client.get("/process-log/app.web.0?format=ndjson")
        events = [json.loads(line).get("event") for line in told.text.splitlines()]
        assert events[:3] == ["started", None, "exited"]
