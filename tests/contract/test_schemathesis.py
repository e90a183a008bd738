"""The live agent and its description: requests are made of this, and that has to keep to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.api.description import OPERATIONS
from tests.e2e.agent import RunningAgent, running_agent, shell_app

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("schemathesis")
METHODS = {method for method, _ in OPERATIONS}
NOT_LOGGED = {"/health", "/ready", "/metrics"}


async def schemathesis(document: Path, url: str) -> tuple[int, str]:
    """Run it against an agent; return its exit code and what it says.

    document: a copy, since it leaves out the operation that it has a description from.
    """
    options: list[str | Path] = [
        "--config-file",
        ROOT / "tests/contract/schemathesis.toml",
        "run",
        "--no-color",
    ]
    # It is not what is measured here.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    result = await trio.run_process(
        [COMMAND, *options, document, "--url", url],
        cwd=ROOT,
        env=env,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return result.returncode, result.stdout.decode()


def successes(agent: RunningAgent) -> set[str]:
    """The paths, without slugs, of requests that had a success."""
    return {
        "/" + event["path"].split("/")[1]
        for event in agent.events
        if event["event"] == "request" and event["method"] in METHODS and event["status"] < 300
    }


@pytest.mark.slow
async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """Every check that it has, and each operation had good requests, too."""
    # Nothing can be downloaded: no name is looked up and no connection made.
    async with running_agent("--source-allow=none.invalid", "--stop-timeout=0.1") as agent:
        app = shell_app("exec sleep 1000")
        upload = (await agent.client.put("/upload-source", content=app)).json()
        await agent.create(upload["source_url"], app="steady")
        await agent.wait_state("steady.web.0", "running")
        document = tmp_path / "openapi.json"
        document.write_bytes((await agent.client.get("/openapi.json")).content)
        code, said = await schemathesis(document, agent.url)
        assert code == 0, said
        assert f"Tested: {len(OPERATIONS)}" in said
        paths = {"/" + path.split("/")[1] for _, path in OPERATIONS}
        assert paths - NOT_LOGGED - successes(agent) == {"/attach-console"}
