"""All metrics that the agent has of its own; those of Python and of its process are the library's.

Each stands beside how it is read.  Names and units are by the conventions of Prometheus.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from smartmob_agent.apps.registry import Apps
from smartmob_agent.apps.wanted import ENDED
from smartmob_agent.histogram import Distribution
from smartmob_agent.http.middleware.traffic import Traffic
from smartmob_agent.metrics.meters import Downloads, Lives, Spawns
from smartmob_agent.metrics.tree_usage import Usage, Usages
from smartmob_agent.output.log.logs import Logs
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.states import State

__all__ = ["ALL", "Family", "Metric", "MetricKind", "Row", "Sources", "read_families"]


class MetricKind(enum.StrEnum):
    """What its values mean."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@attrs.frozen(kw_only=True, eq=False)
class Sources:
    """Where metrics are read from, with the processes that there are at one moment."""

    version: str
    containment: str
    processes: Sequence[ManagedProcess]
    lives: Lives
    spawns: Spawns
    downloads: Downloads
    traffic: Traffic
    usages: Usages[ManagedProcess]
    apps: Apps | None = None
    logs: Logs | None = None

    @property
    def by_state(self) -> Mapping[State, int]:
        """State → processes; one that is gone is not listed any more."""
        found: dict[State, int] = {state: 0 for state in State if state is not State.GONE}
        for process in self.processes:
            found[process.state] += 1
        return found


Value = float | Distribution
Row = tuple[dict[str, str], Value]
"""Labels in the order of the metric, and the value of the series."""
ReadAgent = Callable[[Sources], Iterable[tuple[Iterable[str], Value]]]
ReadProcess = Callable[[Sources, ManagedProcess], float | None]


@attrs.frozen(kw_only=True)
class Metric:
    """One metric.

    labels: their names.
    read: the values of the labels and the value of each series; called in the event loop, and
        what it returns is read at once.
    read_process: in its place, the value for one process, None for no series.  Called in a
        thread, so it may only read plain attributes and look up keys.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    read: ReadAgent | None = None
    read_process: ReadProcess | None = None


@attrs.frozen
class Family:
    """A metric and all its series at one moment, which can be gone through once."""

    metric: Metric
    rows: Iterable[Row]


def read_families(sources: Sources) -> Iterator[Family]:
    """Read all metrics, in the order of the catalogue; some may have no series.

    What belongs to the agent is read now, and what belongs to processes as the result is gone
    through, which a thread may do: thousands of rows at once would be reason enough for Python to
    look for garbage among all that an agent has.
    """
    now = {
        metric: [(_name(metric, values), value) for values, value in metric.read(sources)]
        for metric in ALL
        if metric.read is not None
    }
    labelled = [(_labels_of(process), process) for process in sources.processes]
    return (Family(metric, _rows(metric, now, sources, labelled)) for metric in ALL)


def _rows(
    metric: Metric,
    now: Mapping[Metric, Iterable[Row]],
    sources: Sources,
    labelled: Iterable[tuple[dict[str, str], ManagedProcess]],
) -> Iterable[Row]:
    if metric.read_process is None:
        return now[metric]
    read = metric.read_process
    values = ((labels, read(sources, process)) for labels, process in labelled)
    return ((labels, value) for labels, value in values if value is not None)


def _name(metric: Metric, values: Iterable[str]) -> dict[str, str]:
    return dict(zip(metric.labels, values, strict=True))


_PROCESS = ("slug", "app", "node", "process_type")


def _values_of(process: ManagedProcess) -> tuple[str, ...]:
    spec = process.spec
    return spec.slug, spec.app, spec.node, spec.process_type or ""


def _labels_of(process: ManagedProcess) -> dict[str, str]:
    return dict(zip(_PROCESS, _values_of(process), strict=True))


def _of_tree(figure: Callable[[Usage], float]) -> ReadProcess:
    """Read a figure of the tree of the child that runs, if that has been looked at."""

    def read(it: Sources, process: ManagedProcess) -> float | None:
        usage = it.usages.latest(process) if process.pid is not None else None
        return None if usage is None else figure(usage)

    return read


def _of_logs(figure: Callable[[Logs], float]) -> ReadAgent:
    """Read a figure of the logs, if output is kept."""
    return lambda it: [] if it.logs is None else [((), figure(it.logs))]


def _app_slots(it: Sources) -> Iterator[tuple[tuple[str, str], Mapping[str, int]]]:
    """Go through the types of all apps: their labels, and how many are wanted and ready."""
    for app in it.apps or ():
        ready = Counter(process.spec.process_type for process in app.processes if process.ready)
        for kind, wanted in app.state.counts.items():
            yield (app.name, kind), {"wanted": wanted, "ready": ready[kind]}


def _of_slots(figure: str) -> ReadAgent:
    return lambda it: [(labels, counts[figure]) for labels, counts in _app_slots(it)]


ALL: Sequence[Metric] = (
    Metric(
        name="smartmob_build_info",
        kind=MetricKind.INFO,
        labels=("version", "containment"),
        help="Always 1: the version of the agent, and what is promised of each tree.",
        read=lambda it: [((it.version, it.containment), 1)],
    ),
    Metric(
        name="smartmob_processes",
        kind=MetricKind.GAUGE,
        labels=("state",),
        help="Processes by state.",
        read=lambda it: [((state.value,), number) for state, number in it.by_state.items()],
    ),
    Metric(
        name="smartmob_starts_total",
        kind=MetricKind.COUNTER,
        help="Children started, for all processes together.",
        read=lambda it: [((), it.lives.starts)],
    ),
    Metric(
        name="smartmob_exits_total",
        kind=MetricKind.COUNTER,
        labels=("code", "signal"),
        help="Children that have ended, by exit code or signal; those that the agent stopped, too.",
        read=lambda it: [*it.lives.exits.items()],
    ),
    Metric(
        name="smartmob_restart_delay_seconds",
        kind=MetricKind.HISTOGRAM,
        help="By how long starts were put off after an exit or a failure.",
        read=lambda it: [((), it.lives.delays.now)],
    ),
    Metric(
        name="smartmob_spawn_seconds",
        kind=MetricKind.HISTOGRAM,
        help="From the request for a child until it ran, without the wait for its turn.",
        read=lambda it: [((), it.spawns.seconds.now)],
    ),
    Metric(
        name="smartmob_spawn_failures_total",
        kind=MetricKind.COUNTER,
        help="Children that could not be started.",
        read=lambda it: [((), it.spawns.failures)],
    ),
    Metric(
        name="smartmob_download_seconds",
        kind=MetricKind.HISTOGRAM,
        labels=("outcome",),
        help="How long downloads took: fetched, unchanged since they were cached, failed or "
        "cancelled.",
        read=lambda it: [((key,), seconds.now) for key, seconds in it.downloads.seconds.items()],
    ),
    Metric(
        name="smartmob_download_bytes_total",
        kind=MetricKind.COUNTER,
        help="Bytes of archives received, whole or not.",
        read=lambda it: [((), it.downloads.received_bytes)],
    ),
    Metric(
        name="smartmob_http_request_duration_seconds",
        kind=MetricKind.HISTOGRAM,
        labels=("route", "method", "status"),
        help="From the head of a request to the end of its answer; a WebSocket has the status "
        "101.  The status is empty if the client left before.",
        read=lambda it: [(key, seconds.now) for key, seconds in it.traffic.requests.items()],
    ),
    Metric(
        name="smartmob_http_requests_in_progress",
        kind=MetricKind.GAUGE,
        labels=("route",),
        help="Requests, event streams, followed logs and WebSockets under way.",
        read=lambda it: [((route,), number) for route, number in it.traffic.open.items()],
    ),
    Metric(
        name="smartmob_app_slots_wanted",
        kind=MetricKind.GAUGE,
        labels=("app", "process_type"),
        help="Processes that are wanted of an app.",
        read=_of_slots("wanted"),
    ),
    Metric(
        name="smartmob_app_slots_ready",
        kind=MetricKind.GAUGE,
        labels=("app", "process_type"),
        help="Processes of an app that are ready.",
        read=_of_slots("ready"),
    ),
    Metric(
        name="smartmob_app_release",
        kind=MetricKind.GAUGE,
        labels=("app",),
        help="The release of an app that serves, once there is one.",
        read=lambda it: [
            ((app.name,), app.state.serving)
            for app in it.apps or ()
            if app.state.serving is not None
        ],
    ),
    Metric(
        name="smartmob_rollouts_in_progress",
        kind=MetricKind.GAUGE,
        help="Rollouts under way.",
        read=lambda it: [((), sum(app.rollout.state not in ENDED for app in it.apps or ()))],
    ),
    Metric(
        name="smartmob_rollouts_total",
        kind=MetricKind.COUNTER,
        labels=("outcome",),
        help="Rollouts that have ended, and how.",
        read=lambda it: [
            ((outcome,), count)
            for outcome, count in ({} if it.apps is None else it.apps.outcomes).items()
        ],
    ),
    Metric(
        name="smartmob_log_written_bytes_total",
        kind=MetricKind.COUNTER,
        help="Bytes of output, and of its index, written to the state directory.",
        read=_of_logs(lambda logs: logs.written_bytes),
    ),
    Metric(
        name="smartmob_log_kept_bytes",
        kind=MetricKind.GAUGE,
        help="Bytes of output kept in the state directory, about.",
        read=_of_logs(lambda logs: logs.kept_bytes),
    ),
    Metric(
        name="smartmob_log_lost_lines_total",
        kind=MetricKind.COUNTER,
        help="Lines that the state directory did not take, or too slowly; readers are told a gap.",
        read=_of_logs(lambda logs: logs.lost_lines),
    ),
    Metric(
        name="smartmob_log_pending_bytes",
        kind=MetricKind.GAUGE,
        help="Bytes of output that wait to be written to the state directory.",
        read=_of_logs(lambda logs: logs.queue.pending_bytes),
    ),
    Metric(
        name="smartmob_process_state",
        kind=MetricKind.GAUGE,
        labels=(*_PROCESS, "state"),
        help="Always 1: the state in which a process is.",
        read=lambda it: [((*_values_of(one), one.state.value), 1) for one in it.processes],
    ),
    Metric(
        name="smartmob_process_starts_total",
        kind=MetricKind.COUNTER,
        labels=_PROCESS,
        help="Children that a process has had.",
        read_process=lambda _, process: process.starts,
    ),
    Metric(
        name="smartmob_process_ready",
        kind=MetricKind.GAUGE,
        labels=_PROCESS,
        help="Whether the child that runs counts as started well: 1 or 0.",
        read_process=lambda _, process: int(process.ready),
    ),
    Metric(
        name="smartmob_process_failures",
        kind=MetricKind.GAUGE,
        labels=_PROCESS,
        help="Starts in a row that came to nothing.",
        read_process=lambda _, process: process.failures,
    ),
    Metric(
        name="smartmob_process_port",
        kind=MetricKind.GAUGE,
        labels=_PROCESS,
        help="The TCP port that the agent gave to the process, if it did.",
        read_process=lambda _, process: process.port,
    ),
    Metric(
        name="smartmob_process_cpu_seconds_total",
        kind=MetricKind.COUNTER,
        labels=_PROCESS,
        help="Processor time of the trees of a process; what a tree used after the last scrape "
        "before its end is not in it.",
        read_process=lambda it, process: it.usages.cpu_seconds(process),
    ),
    Metric(
        name="smartmob_process_memory_bytes",
        kind=MetricKind.GAUGE,
        labels=_PROCESS,
        help="Memory of the tree: its share (PSS), or what its cgroup counts; all pages (RSS) of "
        "members that the agent must not look into.",
        read_process=_of_tree(lambda usage: usage.memory_bytes),
    ),
    Metric(
        name="smartmob_process_open_fds",
        kind=MetricKind.GAUGE,
        labels=_PROCESS,
        help="Open descriptors of the tree, without members that the agent must not look into.",
        read_process=_of_tree(lambda usage: usage.open_fds),
    ),
    Metric(
        name="smartmob_process_members",
        kind=MetricKind.GAUGE,
        labels=_PROCESS,
        help="Processes of the operating system in the tree.",
        read_process=_of_tree(lambda usage: usage.processes),
    ),
    Metric(
        name="smartmob_console_lines_total",
        kind=MetricKind.COUNTER,
        labels=_PROCESS,
        help="Lines that a process wrote.",
        read_process=lambda _, process: process.console.next_line - 1,
    ),
    Metric(
        name="smartmob_console_bytes_total",
        kind=MetricKind.COUNTER,
        labels=_PROCESS,
        help="Bytes of these lines, line ends included.",
        read_process=lambda _, process: process.console.text_bytes,
    ),
    Metric(
        name="smartmob_console_missed_lines_total",
        kind=MetricKind.COUNTER,
        labels=_PROCESS,
        help="Lines dropped before a client that was too slow had them, counted for each such "
        "client.",
        read_process=lambda _, process: process.console.missed_lines,
    ),
    Metric(
        name="smartmob_console_clients",
        kind=MetricKind.GAUGE,
        labels=_PROCESS,
        help="WebSockets attached to the console of a process.",
        read_process=lambda it, process: it.traffic.attached[process.slug],
    ),
)
"""In the order in which they are shown."""
