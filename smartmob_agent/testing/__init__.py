"""Fakes for tests on a virtual clock, held to the same contract tests as the real things.

::

    spawner = FakeSpawner()
    fakes = {"spawner": spawner, "fetcher": FakeFetcher(), "workspaces": FakeWorkspaces()}
    agent = await nursery.start(partial(serve, config, **fakes))
    child = await spawner.next_child()
    child.exit(1)
"""

from __future__ import annotations

from smartmob_agent.testing.cache import FakeArchive, FakeCache, FakePart
from smartmob_agent.testing.children import FakeChild, FakeSpawner
from smartmob_agent.testing.sources import FakeFetcher, FakeWorkspace, FakeWorkspaces

__all__ = [
    "FakeArchive",
    "FakeCache",
    "FakeChild",
    "FakeFetcher",
    "FakePart",
    "FakeSpawner",
    "FakeWorkspace",
    "FakeWorkspaces",
]
