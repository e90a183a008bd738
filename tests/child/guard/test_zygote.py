"""The zygote, as far as it can be looked at from inside; tests/e2e has the rest."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from smartmob_agent.child.guard.zygote import Zygote


def test_a_shim_in_store_that_cannot_be_had_is_asked_for_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user may have no more processes; a try each 3 ms would take a part of the processor."""
    control, theirs = socket.socketpair()
    zygote = Zygote(control.detach(), isolated=False)

    def fail() -> int:
        raise OSError(errno.EAGAIN, "")

    monkeypatch.setattr(os, "fork", fail)
    with theirs, zygote._control:
        delays = [zygote._patience()]
        for _ in range(20):
            zygote._restock()
            delays.append(zygote._patience())
    assert delays[:4] == [3.0, 6.0, 12.0, 24.0]
    assert delays[-1] == 1000.0
