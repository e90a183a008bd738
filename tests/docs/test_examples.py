"""The example programs do what the documentation shows them for."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import trio

from smartmob_agent.source.app.procfile import parse_procfile
from tests.e2e.agent import running_agent
from tests.source.servers import open_server, respond

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = 60.0
"""Seconds for an agent to start, run a child and stop, on the slowest machine."""


@pytest.fixture(autouse=True)
def _examples_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.syspath_prepend(EXAMPLES / "embedding")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def pack(directory: Path, archive: Path) -> bytes:
    with tarfile.open(archive, mode="w:gz") as tar:
        tar.add(directory, arcname=directory.name)
    return archive.read_bytes()


@pytest.mark.slow
async def test_the_embedding_program_runs_an_app(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = importlib.import_module("program")
    archive = pack(EXAMPLES / "hello-python", tmp_path / "hello.tar.gz")
    with trio.fail_after(LIMIT):
        async with open_server({"/hello.tar.gz": respond(archive)}) as server:
            await program.main(f"{server.url}/hello.tar.gz")
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"serving http://127\.0\.0\.1:\d+", lines[0])
    assert re.fullmatch(r"worker \d+ starts", lines[1])
    assert lines[2:] == ["tick 1", "tick 2", "hello.worker.0 is gone"]


@pytest.mark.slow
async def test_the_client_runs_an_app_and_deletes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = importlib.import_module("client")
    archive = pack(EXAMPLES / "hello-python", tmp_path / "hello.tar.gz")
    async with open_server({"/hello.tar.gz": respond(archive)}) as server, running_agent() as agent:
        await program.main(agent.url, f"{server.url}/hello.tar.gz")
        assert (await agent.client.get("/list-processes")).json() == {"processes": []}
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"1 worker \d+ starts", lines[0])
    assert lines[1:] == ["2 tick 1", "3 tick 2"]


@pytest.mark.slow
def test_the_tests_of_the_embedding_project_pass() -> None:
    """By themselves, as an embedder runs them: `conftest.py` loads the plugin of the package."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # What the run around it says of plugins and coverage is not for this one.
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    result = subprocess.run(
        command, cwd=EXAMPLES / "embedding", env=env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    assert "7 passed" in result.stdout


@pytest.mark.parametrize("name", ["hello-python", "hello-shell"])
def test_each_app_has_a_procfile_that_names_files_it_has(name: str) -> None:
    types = parse_procfile((EXAMPLES / name / "Procfile").read_bytes())
    for process_type in types.values():
        assert (EXAMPLES / name / process_type.command.split()[-1]).is_file()
