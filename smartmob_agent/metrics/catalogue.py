"""All metrics that the agent has of its own; those of Python and of its process are the library's.

Names and units are by the conventions of Prometheus.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

import attrs

from smartmob_agent.histogram import Distribution

__all__ = ["ALL", "Family", "Metric", "MetricKind", "Row"]


class MetricKind(enum.StrEnum):
    """What its values mean."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@attrs.frozen(kw_only=True)
class Metric:
    """One metric.

    labels: their names.
    """

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()


Row = tuple[dict[str, str], float | Distribution]
"""Labels in the order of the metric, and the value of the series."""


@attrs.frozen
class Family:
    """A metric and all its series at one moment, which can be gone through once."""

    metric: Metric
    rows: Iterable[Row]


_PROCESS = ("slug", "app", "node", "process_type")


def _metric(name: str, kind: MetricKind, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(name=name, kind=kind, labels=labels, help=text)


BUILD = _metric(
    "smartmob_build_info",
    MetricKind.INFO,
    ("version", "containment"),
    "Always 1: the version of the agent, and what is promised of each tree.",
)
PROCESSES = _metric("smartmob_processes", MetricKind.GAUGE, ("state",), "Processes by state.")
STARTS = _metric(
    "smartmob_starts_total", MetricKind.COUNTER, (), "Children started, for all processes together."
)
EXITS = _metric(
    "smartmob_exits_total",
    MetricKind.COUNTER,
    ("code", "signal"),
    "Children that have ended, by exit code or signal; those that the agent stopped, too.",
)
RESTART_DELAY = _metric(
    "smartmob_restart_delay_seconds",
    MetricKind.HISTOGRAM,
    (),
    "By how long starts were put off after an exit or a failure.",
)
SPAWN = _metric(
    "smartmob_spawn_seconds",
    MetricKind.HISTOGRAM,
    (),
    "From the request for a child until it ran, without the wait for its turn.",
)
SPAWN_FAILURES = _metric(
    "smartmob_spawn_failures_total", MetricKind.COUNTER, (), "Children that could not be started."
)
DOWNLOAD = _metric(
    "smartmob_download_seconds",
    MetricKind.HISTOGRAM,
    ("outcome",),
    "How long downloads took: fetched, unchanged since they were cached, failed or cancelled.",
)
DOWNLOAD_BYTES = _metric(
    "smartmob_download_bytes_total",
    MetricKind.COUNTER,
    (),
    "Bytes of archives received, whole or not.",
)
HTTP = _metric(
    "smartmob_http_request_duration_seconds",
    MetricKind.HISTOGRAM,
    ("route", "method", "status"),
    "From the head of a request to the end of its answer; a WebSocket has the status 101.  "
    "The status is empty if the client left before.",
)
HTTP_OPEN = _metric(
    "smartmob_http_requests_in_progress",
    MetricKind.GAUGE,
    ("route",),
    "Requests, event streams, followed logs and WebSockets under way.",
)
PROCESS_STATE = _metric(
    "smartmob_process_state",
    MetricKind.GAUGE,
    (*_PROCESS, "state"),
    "Always 1: the state in which a process is.",
)
PROCESS_STARTS = _metric(
    "smartmob_process_starts_total",
    MetricKind.COUNTER,
    _PROCESS,
    "Children that a process has had.",
)
PROCESS_CPU = _metric(
    "smartmob_process_cpu_seconds_total",
    MetricKind.COUNTER,
    _PROCESS,
    "Processor time of the trees of a process; what a tree used after the last scrape before "
    "its end is not in it.",
)
PROCESS_MEMORY = _metric(
    "smartmob_process_memory_bytes",
    MetricKind.GAUGE,
    _PROCESS,
    "Memory of the tree: its share (PSS), or what its cgroup counts; all pages (RSS) of members "
    "that the agent must not look into.",
)
PROCESS_FDS = _metric(
    "smartmob_process_open_fds",
    MetricKind.GAUGE,
    _PROCESS,
    "Open descriptors of the tree, without members that the agent must not look into.",
)
PROCESS_MEMBERS = _metric(
    "smartmob_process_members",
    MetricKind.GAUGE,
    _PROCESS,
    "Processes of the operating system in the tree.",
)
CONSOLE_LINES = _metric(
    "smartmob_console_lines_total", MetricKind.COUNTER, _PROCESS, "Lines that a process wrote."
)
CONSOLE_BYTES = _metric(
    "smartmob_console_bytes_total",
    MetricKind.COUNTER,
    _PROCESS,
    "Bytes of these lines, line ends included.",
)
CONSOLE_MISSED = _metric(
    "smartmob_console_missed_lines_total",
    MetricKind.COUNTER,
    _PROCESS,
    "Lines dropped before a client that was too slow had them, counted for each such client.",
)
CONSOLE_CLIENTS = _metric(
    "smartmob_console_clients",
    MetricKind.GAUGE,
    _PROCESS,
    "WebSockets attached to the console of a process.",
)

ALL: Sequence[Metric] = tuple(value for value in globals().values() if isinstance(value, Metric))
"""In the order in which they are shown."""
