"""What holds for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.determinism.schedule_range import FIRST_SEED, SCHEDULES

# No test asserts on the clock: a machine may be as slow as it likes.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("patient")

# What tests start is to end by these also where nobody sits: `nohup`, or `&` in a script.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


# Nor is anything to depend on what else a terminal, a service or a colleague has set: proxies, the
# width of pages, colours, settings of the commands, the mode of new files.
HANDED_DOWN = {"CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR"}
FOR_TESTS = {
    "SMARTMOB_FIRST_SEED",
    "SMARTMOB_ROLLOUT_KILLS",
    "SMARTMOB_SCHEDULES",
    "SMARTMOB_STATE_KILLS",
}
for _name in {*os.environ} - FOR_TESTS:
    is_proxy, is_setting = _name.lower().endswith("_proxy"), _name.startswith("SMARTMOB_")
    if is_proxy or is_setting or _name in HANDED_DOWN:
        del os.environ[_name]
os.umask(0o022)

MEASURE_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""What coverage.py tells the programs that a measured one starts, by `patch = subprocess`."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure the programs that a test starts only where it says so.

    It doubles the time of a short program, and most of them run lines that are covered anyhow.
    """
    told = os.environ.get(MEASURE_CHILDREN)
    if told is None or item.get_closest_marker("measures_children"):
        return (yield)
    del os.environ[MEASURE_CHILDREN]
    try:
        return (yield)
    finally:
        os.environ[MEASURE_CHILDREN] = told


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name an archive by its size: its bytes are no name, and hold the time they were made."""
    if isinstance(val, bytes) and (len(val) > 40 or not val.isascii()):
        return f"{argname}-of-{len(val)}-bytes"
    return None


def pytest_report_header() -> str:
    """Say what it takes to run the same orders of tasks again."""
    return f"orders of tasks: {SCHEDULES} of each scenario, from seed {FIRST_SEED} on"
