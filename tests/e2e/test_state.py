"""Agents that are stopped and killed, and what the next one has of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
import trio

from smartmob_agent.agent_cli.start import main
from smartmob_agent.state.database import open_database
from smartmob_agent.state.schema import SCHEMA
from smartmob_agent.state.seam import Key
from smartmob_agent.state.writes import PendingWrite
from tests.e2e.agent import RunningAgent, archive_server, run_to_end, running_agent, shell_app

pytestmark = pytest.mark.slow

SLEEP = shell_app("echo mark $MARK; exec sleep 1000")


def option(directory: Path) -> str:
    return f"--state-dir={directory / 'state'}"


async def slugs(agent: RunningAgent) -> dict[str, str]:
    """Slug → state."""
    processes = (await agent.client.get("/list-processes")).json()["processes"]
    return {process["slug"]: process["state"] for process in processes}


@pytest.mark.parametrize("kill", [False, True])
async def test_the_next_agent_has_what_the_last_one_had(tmp_path: Path, *, kill: bool) -> None:
    """Without the server that the app came from; what had finished does not run again."""
    async with archive_server() as server, running_agent(option(tmp_path)) as agent:
        url = server.add("app", SLEEP)
        await agent.create(url, "one", env={"MARK": "secret"}, ready={"log": "mark"})
        await agent.wait_event(event="ready", slug="one.web.0")
        await agent.create(url, "two", process_type=None, command="true", restart="never")
        await agent.wait_state("two.web.0", "finished")
        await agent.create(url, "gone")
        await agent.delete("gone.web.0")
        before = await agent.status("one.web.0")
        assert before["restarts"] == 0
        if kill:
            agent.process.kill()
        await agent.stop()
    directory = tmp_path / "state"
    modes = [os.stat(path).st_mode & 0o777 for path in (directory, directory / "state.db")]  # noqa: PTH116  # a test
    assert modes == [0o700, 0o600]
    async with running_agent(option(tmp_path)) as agent:
        await agent.wait_event(event="ready", slug="one.web.0")
        after = await agent.status("one.web.0")
        same = ("created_at", "port", "source_sha256", "process_type")
        assert [after[name] for name in same] == [before[name] for name in same]
        assert after["restarts"] == 1
        text = (await agent.client.get("/process-log/one.web.0")).text
        assert text.splitlines()[-1] == "mark secret"
        assert await slugs(agent) == {"one.web.0": "running", "two.web.0": "finished"}
        assert (await agent.status("two.web.0"))["exit"] == {"code": 0}
        assert (await agent.client.get("/ready")).status_code == 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 512 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root mounts disks, and not everywhere")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


async def post(agent: RunningAgent, path: str, body: dict[str, object]) -> tuple[int, str]:
    answer = await agent.client.post(path, json=body)
    return answer.status_code, str(answer.json().get("detail"))


async def test_a_full_disk_is_a_507_and_changes_nothing(small_disk: Path, tmp_path: Path) -> None:
    """Not even over a restart; what there is runs meanwhile, and with room all goes on."""
    options = (f"--state-dir={small_disk / 'state'}", f"--cache-dir={tmp_path / 'cache'}")
    big = {"BIG": "x" * 30_000}
    async with archive_server() as server:
        url = server.add("app", SLEEP)
        async with running_agent(*options) as agent:
            await agent.create(url, "one")
            await agent.wait_state("one.web.0", "running")
            await agent.create(url, "two", process_type=None, command="true", restart="on-failure")
            await agent.wait_state("two.web.0", "finished")
            fill_up(small_disk)
            request = {"app": "big", "node": "web.0", "process_type": "web", "source_url": url}
            found = await post(agent, "/create-process", {**request, "env": big})
            assert (found[0], "nothing was changed" in found[1]) == (507, True)
            assert await slugs(agent) == {"one.web.0": "running", "two.web.0": "finished"}
        async with running_agent(*options) as agent:
            await agent.wait_event(event="state", slug="one.web.0", state="running")
            assert await slugs(agent) == {"one.web.0": "running", "two.web.0": "finished"}
            fill_up(small_disk)
            statuses = {
                (await post(agent, path, {}))[0]
                for path in ("/delete-process/one.web.0", "/restart-process/two.web.0")
            }
            assert statuses == {507}
            assert await slugs(agent) == {"one.web.0": "running", "two.web.0": "finished"}
            (small_disk / "filler").unlink()
            await agent.delete("one.web.0")
            await agent.create(url, "big", env=big)


def fill_up(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


async def test_one_agent_has_a_directory(tmp_path: Path) -> None:
    async with running_agent(option(tmp_path)) as agent:
        other = await run_to_end("--port=0", option(tmp_path))
        assert other.returncode == 1
        assert str(agent.process.pid).encode() in other.stderr


async def test_a_state_can_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ["--check-state", option(tmp_path)]
    assert main(check, {}) == 1
    assert "found no state.db" in capsys.readouterr().err
    async with archive_server() as server, running_agent(option(tmp_path)) as agent:
        await agent.create(server.add("app", SLEEP))
    assert main(check, {}) == 0
    assert "whole; version 1" in (out := capsys.readouterr().out)
    assert "1 of kind process" in out
    await trio.to_thread.run_sync(write, tmp_path / "state", ("other", "shop"))
    assert main(check, {}) == 0
    assert "1 of kind other, 1 of kind process" in capsys.readouterr().out
    await trio.to_thread.run_sync(write, tmp_path / "state", ("process", "x"))
    assert main(check, {}) == 1
    assert "expected a document of version 1, found 7 @ process/x" in capsys.readouterr().err
    refused = await run_to_end("--port=0", option(tmp_path))
    assert (refused.returncode, b"found 7 @ process/x" in refused.stderr) == (1, True)
    database = tmp_path / "state" / "state.db"
    database.write_bytes(database.read_bytes()[:1000])
    assert main(check, {}) == 1
    assert str(database) in capsys.readouterr().err


def test_documents_of_apps_are_checked_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    write(tmp_path / "state", ("app", "shop"))
    assert main(["--check-state", option(tmp_path)], {}) == 1
    assert "expected a document of version 1, found 7" in capsys.readouterr().err


def write(directory: Path, key: Key) -> None:
    """A document that only a newer agent understands."""
    with contextlib.closing(open_database(directory, SCHEMA)) as database:
        database.write([PendingWrite(key, {"v": 7}, expected=0)])


def test_a_check_needs_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--check-state"], {})
    assert "expected a --state-dir" in capsys.readouterr().err
