"""Fakes for tests on a virtual clock, which pass the same contract tests as the real things.

::

    spawner = FakeSpawner()
    fakes = {"spawner": spawner, "fetcher": FakeFetcher(), "workspaces": FakeWorkspaces()}
    agent = await nursery.start(partial(serve, config, network=FakeNetwork(), **fakes))
    child = await spawner.next_child()
    child.exit(1)

Two tools run a scenario many times, in plain test functions: `cancel_at_every_checkpoint` cancels
it wherever it can be cancelled, and `explore_schedules` schedules its tasks in many orders.

The module `smartmob_agent.testing.plugin` has fixtures for pytest.
"""

from __future__ import annotations

from smartmob_agent.testing.builds import (
    FakeBuilder,
    FakeScratch,
    FakeToolCache,
    FakeTree,
    FakeTrees,
)
from smartmob_agent.testing.cache import FakeArchive, FakeCache, FakePart
from smartmob_agent.testing.checkpoints import cancel_at_every_checkpoint, explore_schedules
from smartmob_agent.testing.children import FakeChild, FakeSpawner
from smartmob_agent.testing.network import FakeNetwork, FakeNotifications
from smartmob_agent.testing.sources import FakeFetcher, FakeWorkspace, FakeWorkspaces
from smartmob_agent.testing.state import FakeStore
from smartmob_agent.testing.trial import Scenario, StuckError, Trial, run_trial

__all__ = [
    "FakeArchive",
    "FakeBuilder",
    "FakeCache",
    "FakeChild",
    "FakeFetcher",
    "FakeNetwork",
    "FakeNotifications",
    "FakePart",
    "FakeScratch",
    "FakeSpawner",
    "FakeStore",
    "FakeToolCache",
    "FakeTree",
    "FakeTrees",
    "FakeWorkspace",
    "FakeWorkspaces",
    "Scenario",
    "StuckError",
    "Trial",
    "cancel_at_every_checkpoint",
    "explore_schedules",
    "run_trial",
]
