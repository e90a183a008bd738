"""The memory of failures."""

from __future__ import annotations

import pytest

from smartmob_agent.http.middleware.authentication import FailureLimit


def test_after_so_many_failures_a_host_has_to_wait() -> None:
    """Until the oldest of them is a minute old; others do not."""
    limit = FailureLimit(2)
    waits = [limit.wait("a", 0)]
    for now in (0, 10):
        limit.fail("a", now)
        waits.append(limit.wait("a", now))
    assert (waits, limit.wait("b", 10)) == ([0, 0, 50], 0)
    assert (limit.wait("a", 59), limit.wait("a", 60)) == (1, 0)


@pytest.mark.parametrize(
    ("other", "wait"), [("2001:db8::ffff", 60), ("2001:db8:0:1::1", 0), ("10.0.0.1", 0)]
)
def test_a_network_of_ipv6_is_one_host(other: str, wait: float) -> None:
    """Whoever has one of its addresses has them all."""
    limit = FailureLimit(1)
    limit.fail("2001:db8::1", 0)
    assert limit.wait(other, 0) == wait


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was quiet for longest is forgotten."""
    monkeypatch.setattr("smartmob_agent.http.middleware.authentication._HOSTS", 2)
    limit = FailureLimit(1)
    for host in ("a", "b", "a", "c"):
        limit.fail(host, 0)
    assert [limit.wait(host, 0) for host in "abc"] == [60, 0, 60]
