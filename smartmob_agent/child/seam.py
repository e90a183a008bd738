"""The seam between a process and its operating system: `Spawner` and `Child`.

`child/spawner.py` has the real ones, `smartmob_agent.testing` the fakes; both are
held to the same contract tests.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import attrs
import trio

__all__ = ["NO_LIMITS", "Child", "Command", "Exit", "ResourceLimits", "Spawner"]


_SHELL_HINTS = {
    126: ": the shell may not execute the command",
    127: ": the shell did not find the command",
}
"""POSIX.1-2017, Shell Command Language, section 2.8.2."""


@attrs.frozen(kw_only=True)
class ResourceLimits:
    """How much one tree may use; None for no limit of its own.

    memory_bytes: of the tree: where a cgroup counts, what it says, else the proportional set size.
    tasks: processes, and threads where a cgroup counts.
    open_files: descriptors of each process (RLIMIT_NOFILE).
    cpu_weight: share of the processors among trees that want them, 1 to 10000; others have 100.
    core_bytes: size of a core dump (RLIMIT_CORE).
    """

    memory_bytes: int | None = None
    tasks: int | None = None
    open_files: int | None = None
    cpu_weight: int | None = None
    core_bytes: int | None = None


NO_LIMITS = ResourceLimits()


@attrs.frozen(kw_only=True)
class Command:
    """What to start.

    argv: program (found on the PATH of `env`) and arguments.
    env: variable name → value, all of the child's environment.
    cwd: the child's working directory.
    limits: what its tree may use, as far as the kernel can see to it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    limits: ResourceLimits = NO_LIMITS


@attrs.frozen(kw_only=True)
class Exit:
    """How a child ended: by itself with a code, or by a signal; never both.

    reason: what is known of the cause, such as a limit that it has met, with the option that
        raises it; empty for most.
    """

    code: int | None = None
    signal: int | None = None
    reason: str = attrs.field(default="", eq=False)

    @property
    def signal_name(self) -> str | None:
        """Such as `SIGKILL` or, real-time, `SIGRTMIN+2`; None if it ended by itself."""
        if self.signal is None:
            return None
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"SIGRTMIN+{self.signal - signal.SIGRTMIN}"

    @property
    def hint(self) -> str:
        """What is known of the cause, or what a shell means by its code; with a colon before it.

        Empty for most.
        """
        if self.reason:
            return f": {self.reason}"
        return "" if self.code is None else _SHELL_HINTS.get(self.code, "")

    @property
    def record(self) -> dict[str, int | str | None]:
        """As JSON: `{"code": 1}` or `{"signal": "SIGKILL"}`."""
        return {"code": self.code} if self.signal is None else {"signal": self.signal_name}

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        return f"{self.signal_name}"


class Child(Protocol):
    """A started child and its tree: itself with all descendants, however detached."""

    @property
    def pid(self) -> int:
        """Of the child itself, as the operating system counts."""
        ...

    @property
    def stdout(self) -> trio.abc.ReceiveStream:
        """What the child writes; ends when nobody holds the other end of the pipe.

        The one who reads closes it.
        """
        ...

    @property
    def stderr(self) -> trio.abc.ReceiveStream:
        """As `stdout`."""
        ...

    async def wait(self) -> Exit:
        """Wait until the child itself has ended; its descendants and pipes may live on."""
        ...

    async def wait_empty(self) -> None:
        """Wait until nothing of the tree is left.

        When the child ended by itself, what is left of its tree is killed at once.  After
        `terminate()`, the members of the child's process group, who were told too, have
        as long as nobody calls `kill()`; the others are killed when the group is gone.
        """
        ...

    async def wait_settled(self) -> None:
        """Wait until nothing of the tree is left, or what is left is `stuck`.

        Once a tree has to end (see `kill()` and `wait_empty()`) that takes 10 s at most.
        """
        ...

    @property
    def stuck(self) -> tuple[int, ...]:
        """What SIGKILL did not end within 10 s: pids, up to 20, in uninterruptible sleep.

        It ends as soon as the kernel lets go, whether anybody waits or not; then, as
        in all other cases, this is empty.
        """
        ...

    def terminate(self, number: signal.Signals = signal.SIGTERM, *, app_only: bool = False) -> None:
        """Ask the child to end, by a signal to its process group; no effect on one that has ended.

        app_only: the signal goes to the app alone.  What it has started was not told then, and is
            killed when the child has ended.
        """
        ...

    def kill(self) -> None:
        """Send SIGKILL to the whole tree; returns at once.  Safe to call more than once."""
        ...

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's process group; no effect on a child that has ended."""
        ...


class Spawner(Protocol):
    """Starts children."""

    @property
    def containment(self) -> str:
        """What is promised of each tree when the agent is killed: the level in force.

        `tree`: it ends, however its members detached.  `cgroup`: the same, and
        `cgroup.kill` besides.  `pid-namespace`: the same, and even if the guard is killed in
        the same moment.  `group`: no more than its process group ends.
        """
        ...

    @property
    def unlimited(self) -> frozenset[str]:
        """Names of those `ResourceLimits` to which nobody can see here."""
        ...

    async def spawn(self, command: Command) -> Child:
        """Start a child in a session of its own, with /dev/null as its standard input.

        Raises `SpawnError` when the operating system does not start it.

        If cancelled: no child is left behind.
        """
        ...
