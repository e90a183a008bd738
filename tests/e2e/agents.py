"""Agents that tests start, command and kill."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from smartmob_agent.child.guard.kernel import look
from tests.e2e.sandbox import Sandbox, cgroup_root

__all__ = ["LIMIT", "NOBODY", "Agent", "as_user", "is_guard", "open_agent", "users"]

NOBODY = 65534
LIMIT = 20.0
"""Seconds for an answer, generously."""

_GUARD = b"/guard/zygote.py\0"
_HOLDER = Path(__file__).with_name("spawner_program.py")


def as_user(name: str) -> list[str]:
    """What to put before a command that this user shall run."""
    return _become_nobody() if name == "ordinary" and not os.geteuid() else []


def users() -> tuple[str, ...]:
    """The kinds of user that tests can run an agent as."""
    if os.geteuid():
        return ("ordinary",)
    return ("root", "ordinary") if cgroup_root() else ("root",)  # a namespace has no other user


@cache
def _become_nobody() -> list[str]:
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    probe = "import smartmob_agent, subprocess, sys; subprocess.check_call([sys.executable, '-V'])"
    argv = [*nobody, sys.executable, "-c", probe]
    if not subprocess.run(argv, check=False, capture_output=True).returncode:
        return nobody
    # Our interpreter is in root's own directory.  To read and search it is all that is added.
    return [*nobody, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


@attrs.frozen
class Agent:
    """A program with a real spawner, `holder.py`, in a sandbox."""

    sandbox: Sandbox
    process: subprocess.Popen[bytes]
    pid: int

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Ask for something and wait for the answer."""
        self.ask(do, **arguments)
        return self.hear()

    def ask(self, do: str, **arguments: Any) -> None:
        """Ask for something that may not be answered."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The next answer."""
        assert self.process.stdout
        readable, _, _ = select.select([self.process.stdout], [], [], LIMIT)
        assert readable, f"no answer within {LIMIT:.0f} s"
        return json.loads(self.process.stdout.readline())

    def apps(self) -> set[int]:
        """All that lives in the sandbox but itself and the guard."""
        return set(self.commands())

    def commands(self) -> dict[int, bytes]:
        """The command lines of `apps()`.

        What has no memory any more is on its way out, and does nothing.
        """
        commands = {pid: _command(pid) for pid in self.sandbox.pids() - {self.pid}}
        return {pid: line for pid, line in commands.items() if line and _GUARD not in line}

    def stop(self) -> None:
        """Let it end by itself."""
        assert self.process.stdin
        self.process.stdin.close()

    def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer does it."""
        os.kill(self.pid, signal.SIGKILL)

    def uid(self) -> int:
        """Its user."""
        return Path(f"/proc/{self.pid}").stat().st_uid

    def shim(self, child: int) -> int:
        """The shim above a child, by the number that the agent has for the child."""
        return _parent(self.sandbox.pid(child))

    def zygote(self, child: int) -> int:
        """The zygote above it."""
        return _parent(self.shim(child))


@contextlib.contextmanager
def open_agent(
    sandbox: Sandbox, user: str, *, wrapper: Sequence[str] = (), **options: Any
) -> Iterator[Agent]:
    """An agent that serves.

    wrapper: what to put before its command, as root.
    options: of `open_spawner()`
    """
    argv = [*wrapper, *as_user(user), sys.executable, str(_HOLDER), json.dumps(options)]
    process = sandbox.start(argv)
    agent = Agent(sandbox, process, process.pid)
    agent.hear()
    agent = attrs.evolve(agent, pid=sandbox.main_pid())
    try:
        yield agent
    finally:
        with contextlib.suppress(ProcessLookupError):
            agent.kill()


def is_guard(pid: int) -> bool:
    """Whether it is a part of the guard: zygote, shim, or first process of a namespace."""
    return _GUARD in _command(pid)


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _parent(pid: int) -> int:
    process = look(pid)
    assert process is not None, f"no process {pid}"
    return process.parent
