"""What a process may ask for: when it is started again, counts as ready, and how it ends."""

from __future__ import annotations

import enum
import signal
from typing import Literal

import attrs

from smartmob_agent.child.seam import Exit

__all__ = [
    "DEFAULT_READINESS",
    "PORT_READINESS",
    "PortWish",
    "Readiness",
    "RestartPolicy",
    "StopPolicy",
]

PortWish = Literal["auto", "none"] | int
"""Which TCP port a process gets: one that is free, none, or this one."""


class RestartPolicy(enum.StrEnum):
    """After which ends a child is followed by another."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"

    def restarts_after(self, how: Exit) -> bool:
        """Whether the process is started again after a child that ended like this."""
        if self is RestartPolicy.ON_FAILURE:
            return how.code != 0
        return self is RestartPolicy.ALWAYS


@attrs.frozen(kw_only=True)
class Readiness:
    """When a start counts as good; one of the first five is set.

    port: when its port accepts a TCP connection.
    http: when a GET of this path, at its port, is answered with a status of 200 to 399.
    log: when a line of its output has a match of this regular expression.
    notify: when it says READY=1, as sd_notify(3) does.
    after: when it has run for so many seconds.
    timeout: seconds after which a start that is not ready is told as such; it goes on.
    interval: seconds between two probes of a port or path.
    """

    port: bool = False
    http: str | None = None
    log: str | None = None
    notify: bool = False
    after: float | None = None
    timeout: float = 60.0
    interval: float = 1.0


PORT_READINESS = Readiness(port=True)
"""Of a process of type `web` with a port that the agent has chosen, unless it says otherwise."""

DEFAULT_READINESS = Readiness(after=1.0)
"""Of all others."""


@attrs.frozen(kw_only=True)
class StopPolicy:
    """How a child is asked to end.

    signal: what it is sent first.
    timeout: seconds from that to SIGKILL; None for the agent's `stop_timeout`.
    to: all of its process group, or the app alone.
    """

    signal: signal.Signals = signal.SIGTERM
    timeout: float | None = None
    to: Literal["group", "app"] = "group"
