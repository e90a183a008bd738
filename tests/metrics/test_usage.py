"""What was read of trees, between two readings."""

from __future__ import annotations

import math

from smartmob_agent.metrics.tree_usage import Usage, Usages


def usage(cpu_seconds: float) -> Usage:
    return Usage(cpu_seconds=cpu_seconds, memory_bytes=1, open_fds=2, processes=3)


def seconds_of(*readings: tuple[int, float]) -> float | None:
    """Which child and its seconds, of each reading."""
    usages = Usages[str]()
    for starts, seconds in readings:
        usages.update({"p": usage(seconds)}, {"p": starts}, 0.0)
    return usages.cpu_seconds("p")


def test_the_time_of_all_children_adds_up() -> None:
    assert seconds_of((1, 5.0), (1, 7.0), (2, 1.0), (3, 0.5)) == 8.5


def test_time_never_goes_back() -> None:
    """Else Prometheus would take it for a new beginning, and count all of it again."""
    assert seconds_of((1, 5.0), (1, 3.0)) == 5.0
    assert seconds_of((1, 5.0), (1, 3.0), (1, 6.0)) == 6.0


def test_what_was_not_read_has_no_figures() -> None:
    usages = Usages[str]()
    assert (usages.latest("p"), usages.cpu_seconds("p")) == (None, None)
    assert usages.age(0.0) == math.inf


def test_a_process_without_a_tree_keeps_its_time_alone() -> None:
    usages = Usages[str]()
    usages.update({"p": usage(1.0)}, {"p": 1}, 5.0)
    assert usages.latest("p") == usage(1.0)
    usages.update({}, {}, 7.0)
    assert (usages.latest("p"), usages.cpu_seconds("p"), usages.age(9.0)) == (None, 1.0, 2.0)


def test_who_is_gone_is_forgotten() -> None:
    usages = Usages[str]()
    usages.update({"p": usage(1.0), "q": usage(2.0)}, {"p": 1, "q": 1}, 0.0)
    usages.keep(["new", "q"])
    assert (usages.cpu_seconds("p"), usages.cpu_seconds("q")) == (None, 2.0)
