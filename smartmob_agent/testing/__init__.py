"""Fakes for tests on a virtual clock, held to the same contract tests as the real things.

::

    spawner = FakeSpawner()
    fakes = {"spawner": spawner, "fetcher": FakeFetcher(), "workspaces": FakeWorkspaces()}
    agent = await nursery.start(partial(serve, config, **fakes))
    child = await spawner.next_child()
    child.exit(1)

And two tools that run a scenario again and again, for plain functions as tests:
`cancel_at_every_checkpoint` cancels it wherever it can be cancelled, and `explore_schedules`
takes its tasks in many orders.
"""

from __future__ import annotations

from smartmob_agent.testing.cache import FakeArchive, FakeCache, FakePart
from smartmob_agent.testing.checkpoints import cancel_at_every_checkpoint, explore_schedules
from smartmob_agent.testing.children import FakeChild, FakeSpawner
from smartmob_agent.testing.sources import FakeFetcher, FakeWorkspace, FakeWorkspaces
from smartmob_agent.testing.trial import Scenario, StuckError, Trial, run_trial

__all__ = [
    "FakeArchive",
    "FakeCache",
    "FakeChild",
    "FakeFetcher",
    "FakePart",
    "FakeSpawner",
    "FakeWorkspace",
    "FakeWorkspaces",
    "Scenario",
    "StuckError",
    "Trial",
    "cancel_at_every_checkpoint",
    "explore_schedules",
    "run_trial",
]
