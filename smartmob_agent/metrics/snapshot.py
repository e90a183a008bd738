"""The figures of an agent at one moment, and what metrics they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from smartmob_agent.histogram import Distribution
from smartmob_agent.metrics import catalogue
from smartmob_agent.metrics.catalogue import Family, Metric, Row
from smartmob_agent.metrics.tree_usage import Usage
from smartmob_agent.process.states import State

__all__ = ["ProcessFigures", "Snapshot", "make_families"]

Value = float | Distribution
_SHOWN_STATES = tuple(state for state in State if state is not State.GONE)
"""A process that is gone is not listed any more."""


@attrs.frozen(kw_only=True)
class ProcessFigures:
    """What is known of one process.

    labels: name → value; the same for all metrics of the process.
    cpu_seconds: of all its children; None if none has been looked at.
    usage: of the child that runs; None if none does, or it has not been looked at.
    """

    labels: dict[str, str]
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


def make_families(it: Snapshot) -> Iterator[Family]:
    """Go through all metrics of the catalogue, in its order; some may have no series.

    All is made when it is asked for: thousands of rows at once would be reason enough for
    Python to look for garbage among all that an agent has.
    """
    rows = _agent_rows(it)
    for metric in catalogue.ALL:
        if metric in rows:
            yield Family(metric, [(_name(metric, values), value) for values, value in rows[metric]])
        else:
            yield Family(metric, _process_rows(_FIGURES[metric], it.processes))


def _name(metric: Metric, values: Iterable[str]) -> dict[str, str]:
    return dict(zip(metric.labels, values, strict=True))


def _agent_rows(it: Snapshot) -> Mapping[Metric, Iterable[tuple[Iterable[str], Value]]]:
    by_state: dict[State, int] = dict.fromkeys(_SHOWN_STATES, 0)
    for process in it.processes:
        by_state[process.state] += 1
    return {
        catalogue.BUILD: [((it.version, it.containment), 1)],
        catalogue.PROCESSES: [((state.value,), number) for state, number in by_state.items()],
        catalogue.STARTS: [((), it.starts)],
        catalogue.EXITS: it.exits.items(),
        catalogue.RESTART_DELAY: [((), it.restart_delay)],
        catalogue.SPAWN: [((), it.spawn)],
        catalogue.SPAWN_FAILURES: [((), it.spawn_failures)],
        catalogue.DOWNLOAD: [((outcome,), seconds) for outcome, seconds in it.downloads.items()],
        catalogue.DOWNLOAD_BYTES: [((), it.download_bytes)],
        catalogue.HTTP: it.requests.items(),
        catalogue.HTTP_OPEN: [((route,), number) for route, number in it.open_requests.items()],
        catalogue.PROCESS_STATE: [
            ((*process.labels.values(), process.state.value), 1) for process in it.processes
        ],
    }


def _of_usage(figure: Callable[[Usage], float]) -> Callable[[ProcessFigures], float | None]:
    return lambda process: None if process.usage is None else figure(process.usage)


_FIGURES: Mapping[Metric, Callable[[ProcessFigures], float | None]] = {
    catalogue.PROCESS_STARTS: lambda process: process.starts,
    catalogue.PROCESS_CPU: lambda process: process.cpu_seconds,
    catalogue.PROCESS_MEMORY: _of_usage(lambda usage: usage.memory_bytes),
    catalogue.PROCESS_FDS: _of_usage(lambda usage: usage.open_fds),
    catalogue.PROCESS_MEMBERS: _of_usage(lambda usage: usage.processes),
    catalogue.CONSOLE_LINES: lambda process: process.lines,
    catalogue.CONSOLE_BYTES: lambda process: process.text_bytes,
    catalogue.CONSOLE_MISSED: lambda process: process.missed_lines,
    catalogue.CONSOLE_CLIENTS: lambda process: process.clients,
}


def _process_rows(
    figure: Callable[[ProcessFigures], float | None], processes: Iterable[ProcessFigures]
) -> Iterator[Row]:
    for process in processes:
        value = figure(process)
        if value is not None:
            yield process.labels, value
