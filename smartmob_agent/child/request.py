"""What the agent asks a zygote for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from smartmob_agent.child.limits import Limits
from smartmob_agent.child.seam import Command

__all__ = ["SpawnRequest"]


@attrs.define(eq=False)
class SpawnRequest:
    """A message to the zygote, with the descriptors that go along.

    Whoever holds it closes it: its maker until it was handed over.
    """

    message: Mapping[str, Any]
    fds: list[int] = attrs.field(factory=list)

    @classmethod
    def spawn(
        cls, command: Command, fds: list[int], *, limits: Limits, isolation: str | None
    ) -> Self:
        """Ask for a child.

        fds: lifeline, stdout, stderr
        limits: name in :mod:`resource` → soft and hard limit
        """
        return cls(
            {
                "argv": command.argv,
                "env": dict(command.env),
                "cwd": str(command.cwd.absolute()),
                "limits": dict(limits),
                "isolation": isolation,
                "cgroup": None,
            },
            fds,
        )

    def enter(self, cgroup: Path, procs: int) -> None:
        """Let the child be in a cgroup from its first instruction.

        procs: its cgroup.procs, open
        """
        self.message = {**self.message, "cgroup": str(cgroup)}
        self.fds.append(procs)

    def close(self) -> None:
        """Close the descriptors; safe to call more than once."""
        while self.fds:
            os.close(self.fds.pop())
