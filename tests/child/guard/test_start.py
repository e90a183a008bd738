"""The start of the guard, cancelled at any moment: nothing is left, and nobody hangs."""

from __future__ import annotations

import itertools
import os
import sys

import pytest
import trio

from smartmob_agent.child.guard.kernel import children
from smartmob_agent.child.spawner import open_spawner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

LIMIT = 20.0
CHECKPOINTS = 16
"""A start has about ten steps; what is cancelled later is cancelled while it serves."""


class CancelAt(trio.abc.Instrument):
    """Cancels a scope after so many steps."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope, self._steps = scope, steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps -= 1
        if not self._steps:
            self._scope.cancel()


async def step_on() -> None:
    """Go on making steps: once the guard serves, nothing else makes any."""
    for _ in itertools.count():
        await trio.lowlevel.checkpoint()


@pytest.mark.slow
async def test_a_start_that_is_cancelled_comes_to_its_end() -> None:
    """In real time: once the guard hung for ever, and with it the program around it."""
    before = children(os.getpid())
    with trio.fail_after(LIMIT):
        await trio.lowlevel.checkpoint()
        for steps in range(1, CHECKPOINTS):
            with trio.CancelScope() as scope:
                instrument = CancelAt(scope, steps)
                trio.lowlevel.add_instrument(instrument)
                async with open_spawner():
                    await step_on()
            trio.lowlevel.remove_instrument(instrument)
            assert scope.cancelled_caught
            assert children(os.getpid()) == before
