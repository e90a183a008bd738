"""Programs that cannot be executed, through the whole agent: a clear error, and another try."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.agent import RunningAgent, archive_server, running_agent, tar_gz

pytestmark = pytest.mark.slow

NOT_FOUND = "the shell did not find the command"
FAILURES = {
    "missing": ("exec ./missing", 127, NOT_FOUND),
    "forbidden": ("chmod -x program; exec ./program", 126, "the shell may not execute the command"),
    "mistaken": ("exec ./program", 127, NOT_FOUND),
}
"""By process type: its command, and what comes of it."""

PROGRAM = "#!/missing/interpreter\n"


async def first_of_two_failures(agent: RunningAgent, app: str) -> dict[str, Any]:
    """Wait until the app was tried twice."""
    sought: dict[str, Any] = {"event": "state", "slug": f"{app}.web.0", "state": "backoff"}
    failure = await agent.wait_event(**sought)
    await agent.wait_event(after=agent.events.index(failure) + 1, **sought)
    return failure


async def test_what_cannot_be_executed_is_told_and_tried_again() -> None:
    commands = "".join(f"{name}: {command}\n" for name, (command, _, _) in FAILURES.items())
    files = {"Procfile": commands, "program": PROGRAM}
    async with archive_server() as archives, running_agent() as agent:
        source = archives.add("app.tar.gz", tar_gz(files))
        for name in FAILURES:
            await agent.create(source, name, process_type=name)
        for name, (_, code, reason) in FAILURES.items():
            assert reason in (await first_of_two_failures(agent, name))["error"]
            assert (await agent.status(f"{name}.web.0"))["exit"] == {"code": code}
