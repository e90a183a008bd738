"""When a lost connection is tried again."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from smartmob_agent.client.errors import ConnectionLostError, UnreachableError
from smartmob_agent.client.reconnect import ReconnectBackoff

Clock = trio.testing.MockClock
LOST = ConnectionLostError("lost")


async def attempts(backoff: ReconnectBackoff) -> list[float]:
    """When attempts are made, until it gives up."""
    times: list[float] = []
    for _ in range(100):
        try:
            await backoff.wait(LOST)
        except ConnectionLostError:
            break
        times.append(trio.current_time())
    return times


async def test_the_first_attempt_comes_at_once_the_others_ever_later(autojump_clock: Clock) -> None:
    backoff = ReconnectBackoff(20.0, "x")
    backoff.connected()
    assert await attempts(backoff) == [0.0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 20.0]


async def test_what_was_never_connected_is_not_tried_again(autojump_clock: Clock) -> None:
    with pytest.raises(UnreachableError):
        await ReconnectBackoff(20.0, "x").wait(UnreachableError("nobody there"))


async def test_the_limit_counts_from_the_latest_loss(autojump_clock: Clock) -> None:
    backoff = ReconnectBackoff(3.0, "x")
    backoff.connected()
    await backoff.wait(LOST)
    await backoff.wait(LOST)
    backoff.connected()
    backoff.received()
    await trio.sleep(100)
    assert await attempts(backoff) == [100.5, 101.0, 102.0, 103.5]


async def test_connections_of_no_use_are_not_made_in_a_hurry(
    autojump_clock: Clock,
) -> None:
    """Something in between accepts each, and cuts it at once."""
    backoff, times = ReconnectBackoff(3.0, "x"), []
    for _ in range(5):
        backoff.connected()
        await backoff.wait(LOST)
        times.append(trio.current_time())
    assert times == [0.0, 0.5, 1.5, 3.5, 6.5]


async def test_one_that_lasted_was_of_use_though_nothing_came(autojump_clock: Clock) -> None:
    backoff = ReconnectBackoff(3.0, "x")
    for _ in range(2):
        backoff.connected()
        await backoff.wait(LOST)
    backoff.connected()
    await trio.sleep(5)
    await backoff.wait(LOST)
    assert trio.current_time() == 5.5


async def test_a_loss_and_its_end_are_logged(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smartmob_agent.client")
    backoff = ReconnectBackoff(3.0, "hello.web.0")
    backoff.connected()
    await backoff.wait(LOST)
    await backoff.wait(LOST)
    backoff.connected()
    assert [(r.getMessage(), r.what) for r in caplog.records] == [  # type: ignore[attr-defined]  # extra
        ("connection lost", "hello.web.0"),
        ("connected again", "hello.web.0"),
    ]
