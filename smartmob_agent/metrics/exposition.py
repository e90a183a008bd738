"""Our metrics in the formats of Prometheus.  The only module that knows its library."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import HistogramMetricFamily, Metric as Shown
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from smartmob_agent.histogram import Distribution
from smartmob_agent.metrics.catalogue import Family, MetricKind

__all__ = ["Exposition"]

_SANE = re.compile(r"[ -~]*")
_SUFFIXES = {MetricKind.COUNTER: "_total", MetricKind.INFO: "_info"}
"""In the library they are no part of the name."""


class Exposition:
    """Renders metrics, with those of Python and of the agent's process.

    It has a registry of its own: a program may run several agents, and have metrics of its own.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(_Ours(self))
        self.families: Iterable[Family] = ()

    def render(self, families: Iterable[Family], accept: str) -> tuple[bytes, str]:
        """Return text and media type; it takes about 10 µs for each series.

        accept: the header of that name.  What is not understood stands for the plain format.

        Not to be called by two threads at once.
        """
        self.families = families
        encode, media_type = choose_encoder("")
        if _SANE.fullmatch(accept):
            with contextlib.suppress(TypeError, ValueError):  # a version that is no number
                encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Ours:
    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition

    def collect(self) -> Iterable[Shown]:
        return map(_show, self._exposition.families)


def _show(family: Family) -> Shown:
    metric = family.metric
    name = metric.name.removesuffix(_SUFFIXES.get(metric.kind, ""))
    if metric.kind is MetricKind.HISTOGRAM:
        return _show_histogram(name, family)
    shown = Shown(name, metric.help, metric.kind.value)
    for labels, value in family.rows:
        assert not isinstance(value, Distribution)  # noqa: S101  # by its kind
        shown.add_sample(metric.name, labels, value)
    return shown


def _show_histogram(name: str, family: Family) -> Shown:
    shown = HistogramMetricFamily(name, family.metric.help, labels=family.metric.labels)
    for labels, value in family.rows:
        assert isinstance(value, Distribution)  # noqa: S101  # by its kind
        bounds = [*map(floatToGoString, value.bounds), "+Inf"]
        buckets = list(zip(bounds, value.counts, strict=True))
        shown.add_metric([*labels.values()], buckets, value.total)
    return shown
