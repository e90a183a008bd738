"""The figures of an agent at one moment, and what metrics they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from smartmob_agent.metrics import catalogue
from smartmob_agent.metrics.catalogue import Family, Metric, Row
from smartmob_agent.metrics.histogram import Distribution
from smartmob_agent.metrics.tree import Usage
from smartmob_agent.process.states import State

__all__ = ["ProcessFigures", "Snapshot", "make_families"]

_SHOWN_STATES = tuple(state for state in State if state is not State.GONE)
"""A process that is gone is not listed any more."""


@attrs.frozen(kw_only=True)
class ProcessFigures:
    """What is known of one process.

    labels: slug, app, node and process type.
    cpu_seconds: of all its children; None if none has been looked at.
    usage: of the child that runs; None if none does, or it has not been looked at.
    """

    labels: tuple[str, str, str, str]
    state: State
    starts: int
    lines: int
    text_bytes: int
    missed_lines: int
    clients: int
    cpu_seconds: float | None
    usage: Usage | None


@attrs.frozen(kw_only=True)
class Snapshot:
    """Everything that is told, but for the Python and the process of the agent itself.

    exits: code and signal → number.
    downloads: outcome → seconds.
    requests: route, method and status → seconds.
    open_requests: route → number.
    """

    version: str
    containment: str
    processes: Sequence[ProcessFigures]
    starts: int
    exits: Mapping[tuple[str, str], int]
    restart_delay: Distribution
    spawn: Distribution
    spawn_failures: int
    downloads: Mapping[str, Distribution]
    download_bytes: int
    requests: Mapping[tuple[str, str, str], Distribution]
    open_requests: Mapping[str, int]


def make_families(it: Snapshot) -> Sequence[Family]:
    """Return all metrics of the catalogue, in its order; some may have no series."""
    rows = {**_agent_rows(it), **_process_rows(it.processes)}
    return [Family(metric, rows[metric]) for metric in catalogue.ALL]


def _agent_rows(it: Snapshot) -> Mapping[Metric, Sequence[Row]]:
    by_state: dict[State, int] = dict.fromkeys(_SHOWN_STATES, 0)
    for process in it.processes:
        by_state[process.state] += 1
    return {
        catalogue.BUILD: [((it.version, it.containment), 1)],
        catalogue.PROCESSES: [((state.value,), number) for state, number in by_state.items()],
        catalogue.STARTS: [((), it.starts)],
        catalogue.EXITS: list(it.exits.items()),
        catalogue.RESTART_DELAY: [((), it.restart_delay)],
        catalogue.SPAWN: [((), it.spawn)],
        catalogue.SPAWN_FAILURES: [((), it.spawn_failures)],
        catalogue.DOWNLOAD: [((outcome,), seconds) for outcome, seconds in it.downloads.items()],
        catalogue.DOWNLOAD_BYTES: [((), it.download_bytes)],
        catalogue.HTTP: list(it.requests.items()),
        catalogue.HTTP_OPEN: [((route,), number) for route, number in it.open_requests.items()],
    }


_USAGE: Mapping[Metric, Callable[[Usage], float]] = {
    catalogue.PROCESS_MEMORY: lambda usage: usage.memory_bytes,
    catalogue.PROCESS_FDS: lambda usage: usage.open_fds,
    catalogue.PROCESS_MEMBERS: lambda usage: usage.processes,
}
_FIGURES: Mapping[Metric, Callable[[ProcessFigures], float]] = {
    catalogue.PROCESS_STARTS: lambda process: process.starts,
    catalogue.CONSOLE_LINES: lambda process: process.lines,
    catalogue.CONSOLE_BYTES: lambda process: process.text_bytes,
    catalogue.CONSOLE_MISSED: lambda process: process.missed_lines,
    catalogue.CONSOLE_CLIENTS: lambda process: process.clients,
}


_OF_PROCESSES = (catalogue.PROCESS_STATE, catalogue.PROCESS_CPU, *_FIGURES, *_USAGE)


def _process_rows(processes: Iterable[ProcessFigures]) -> Mapping[Metric, Sequence[Row]]:
    rows: dict[Metric, list[Row]] = {metric: [] for metric in _OF_PROCESSES}
    for process in processes:
        labels = process.labels
        rows[catalogue.PROCESS_STATE].append(((*labels, process.state.value), 1))
        for metric, figure in _FIGURES.items():
            rows[metric].append((labels, figure(process)))
        if process.cpu_seconds is not None:
            rows[catalogue.PROCESS_CPU].append((labels, process.cpu_seconds))
        if process.usage is not None:
            for metric, use in _USAGE.items():
                rows[metric].append((labels, use(process.usage)))
    return rows
