"""An agent whose log nobody reads: a log shipper that hangs, a pager, CTRL-S on a terminal."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio

from tests.e2e.agent import LIMIT, archive_server, shell_app

pytestmark = pytest.mark.slow

REQUESTS = 200
"""Each is a line of the log, and a pipe of 4096 bytes holds about 20."""


@asynccontextmanager
async def unread_agent() -> AsyncIterator[tuple[trio.Process, httpx.AsyncClient, int]]:
    """Start the command on a small pipe that is read up to the bind event and no further."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-m", "smartmob_agent", "--port=0", "--stop-timeout=1"]
    with trio.fail_after(LIMIT):
        process = await trio.lowlevel.open_process(command, stderr=writer, stdin=subprocess.DEVNULL)
        os.close(writer)
        try:
            text = ""
            while not (url := re.search(r"url=(\S+) .*\n", text)):
                text += (await trio.to_thread.run_sync(os.read, reader, 4096)).decode()
            async with httpx.AsyncClient(base_url=url[1], timeout=LIMIT) as client:
                yield process, client, reader
        finally:
            process.kill()
            with trio.move_on_after(LIMIT, shield=True):
                await process.wait()
            os.close(reader)


async def test_an_unread_log_stops_nothing() -> None:
    """Neither answers nor processes nor the end; lines may be lost."""
    async with archive_server() as server, unread_agent() as (process, client, _):
        document = {
            "app": "app",
            "node": "web.0",
            "process_type": "web",
            "source_url": server.add("app", shell_app("exec sleep 1000")),
        }
        for _ in range(REQUESTS):
            assert (await client.get("/list-processes")).status_code == 200
        assert (await client.post("/create-process", json=document)).status_code == 201
        while (await client.get("/process-status/app.web.0")).json()["state"] != "running":
            continue
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_what_is_lost_is_told_once_somebody_reads() -> None:
    """The queue holds a megabyte: more than that is counted."""
    async with unread_agent() as (process, client, reader):
        path = "/" + "x" * 8000
        for _ in range(REQUESTS):
            assert (await client.get(path)).status_code == 404
        text = ""
        while not re.search(r'event="log lines lost" .*lines=\d+.*\n', text):
            text += (await trio.to_thread.run_sync(os.read, reader, 65536)).decode()
        assert (await client.get("/health")).status_code == 200
        assert process.poll() is None
