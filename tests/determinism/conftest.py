"""What holds for all scenarios."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _unmeasured() -> Iterator[None]:
    """Let no coverage be measured: all of it is by other tests, and this would take twice as long.

    On the Pythons where coverage is measured in another way than by tracing it costs nothing.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)
