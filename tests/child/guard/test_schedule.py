"""How soon the guard runs; tried in threads of their own, which end with what they asked for."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from smartmob_agent.child.guard import schedule
from smartmob_agent.child.guard.schedule import take_precedence, wake_quickly

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs sched(7)")

T = TypeVar("T")


def apart(do: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(do).result()


def slice_of_this_thread() -> int:
    """Nanoseconds, 0 where the kernel has one slice for all."""
    number = schedule._SYS_SCHED_SETATTR[os.uname().machine] + 1  # sched_getattr(2)
    attributes = ctypes.create_string_buffer(struct.calcsize(schedule._ATTRIBUTES))
    call = ctypes.CDLL(None).syscall
    assert not call(ctypes.c_long(number), 0, attributes, len(attributes), 0)
    found: int = struct.unpack(schedule._ATTRIBUTES, attributes.raw)[5]
    return found


@pytest.mark.skipif(not schedule._CALL, reason="needs an ordinary policy on a machine we know")
def test_a_short_slice_is_asked_for() -> None:
    before = apart(slice_of_this_thread)

    def ask() -> int:
        wake_quickly()
        return slice_of_this_thread()

    assert apart(ask) == (schedule._SLICE if before else 0)
    assert apart(slice_of_this_thread) == before


@pytest.mark.skipif(not schedule._CALL, reason="needs an ordinary policy on a machine we know")
def test_nobody_inherits_a_short_slice() -> None:
    """Else apps would have it, too."""

    def ask_and_start() -> int:
        wake_quickly()
        return apart(slice_of_this_thread)

    assert apart(ask_and_start) == apart(slice_of_this_thread)


@pytest.mark.parametrize(
    ("name", "value"), [("_SYS_SCHED_SETATTR", {}), ("_ask_policy", lambda: os.SCHED_BATCH)]
)
def test_what_the_machine_does_not_know_is_left_out(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, name, value)
    monkeypatch.setattr(schedule, "_CALL", schedule._prepare())
    assert schedule._CALL == ()
    wake_quickly()


def test_precedence_is_taken_where_it_may_be() -> None:
    def take() -> int:
        take_precedence()
        return os.sched_getscheduler(0)

    assert apart(take) in {os.SCHED_RR, os.SCHED_OTHER}
