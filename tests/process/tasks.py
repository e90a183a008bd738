"""Which tasks an agent has while it lives: no more than its processes and connections need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import trio

from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["check_tasks", "count_tasks"]


def count_tasks(nurseries: Iterable[trio.Nursery]) -> Counter[str]:
    """Count the tasks below nurseries by kind, but none below a process or a connection."""
    found: Counter[str] = Counter()
    tasks = [task for nursery in nurseries for task in nursery.child_tasks]
    while tasks:
        task = tasks.pop()
        kind = task.name.partition(" ")[0]
        found[task.name if kind == "process" else kind] += 1
        if kind not in ("process", "connection", "build"):
            tasks += [one for nursery in task.child_nurseries for one in nursery.child_tasks]
    return found


def check_tasks(
    nurseries: Iterable[trio.Nursery],
    before: Counter[str],
    supervisor: Supervisor,
    *,
    connections: int = 0,
) -> None:
    """There are the tasks of `before`, those of listed processes and so many connections, and
    downloads and builds only if a process waits for one.
    """
    found = count_tasks(nurseries)
    replacing = any(one.replacing and not one.replacing.has_ended for one in supervisor)
    downloading = replacing or any(one.state is State.DOWNLOADING for one in supervisor)
    assert downloading or not found["download"], found
    del found["download"]
    building = replacing or any(one.state is State.BUILDING for one in supervisor)
    assert building or not found["build"], found
    del found["build"]
    listed = Counter(f"process {process.slug}" for process in supervisor)
    assert found == before + listed + Counter(connection=connections)
