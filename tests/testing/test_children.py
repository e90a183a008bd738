"""What a test can ask of fake children."""

from __future__ import annotations

import signal
from pathlib import Path

from smartmob_agent.child.seam import Command
from smartmob_agent.testing import FakeSpawner

COMMAND = Command(argv=("app",), env={}, cwd=Path("/"))


async def test_a_child_is_released_when_it_is_gone_and_its_pipes_are_closed() -> None:
    spawner = FakeSpawner()
    child = await spawner.spawn(COMMAND)
    seen = [spawner.living]
    child.exit()
    seen.append(spawner.living)
    await child.stdout.aclose()
    seen.append(spawner.living)
    await child.stderr.aclose()
    assert [*seen, spawner.living] == [[child], [child], [child], []]
    assert child.released


async def test_a_child_whose_pipes_are_closed_writes_nothing_and_harms_nobody() -> None:
    child = await FakeSpawner().spawn(COMMAND)
    child.write(b"before")
    child.exit()
    child.write(b"after")
    child.write_error(b"after")
    assert await child.stdout.receive_some() == b"before"
    assert await child.stdout.receive_some() == b""


async def test_a_child_notes_the_signals_that_do_not_end_it() -> None:
    child = await FakeSpawner().spawn(COMMAND)
    child.send_signal(signal.SIGHUP)
    child.exit()
    child.send_signal(signal.SIGUSR1)
    assert child.signals == [signal.SIGHUP]
