"""A child and its tree, as the agent holds them: by the lifeline to its shim."""

from __future__ import annotations

import contextlib
import errno as errors
import logging
import os
import signal
from collections.abc import Callable
from typing import Self

import attrs
import trio

from smartmob_agent.child.pipes import ChildPipes
from smartmob_agent.child.seam import Command, Exit, ResourceLimits
from smartmob_agent.child.zygote_client import ZygoteClient, receive_lines
from smartmob_agent.errors import ExecError, SpawnError

__all__ = ["GuardedChild", "ShimHandle"]

logger = logging.getLogger(__name__)

_SHIM_TIMEOUT = 5.0
"""Seconds that a shim may be silent after a kill, before it is killed itself.

Twice as long after a kill, what is left counts as stuck; what was never started has as long
again, without its zygote.
"""

_TURNS = 5
"""Of the event loop, from a word that has arrived to the end of who oversees its child."""

_NO_PROGRAM = frozenset(
    {errors.ENOENT, errors.EACCES, errors.ENOEXEC, errors.ENOTDIR, errors.EISDIR, errors.ELOOP}
)
"""Of execve(2): trying again does not help."""


@attrs.frozen(kw_only=True)
class ShimHandle:
    """The shim of one child.

    ident: the zygote knows the shim by it.
    gone: set when the shim has ended and all that it left is ended too.
    """

    zygote: ZygoteClient
    ident: int
    gone: trio.Event


class GuardedChild:
    """The real `Child`."""

    def __init__(
        self,
        command: Command,
        ends: ChildPipes,
        shim: ShimHandle,
        *,
        explain: Callable[[], str] = str,
    ) -> None:
        """A child whose shim was asked for.

        explain: returns why a child that has just failed by itself may have, if that is known.
        """
        self.stdout: trio.abc.ReceiveStream = ends.stdout
        self.stderr: trio.abc.ReceiveStream = ends.stderr
        self.pid = self.shim_pid = 0
        self._command = command
        self._ends = ends
        self._shim = shim
        self._explain = explain
        self._reason = ""
        self._error: SpawnError | None = None
        self._started = trio.Event()
        """Set when it is known whether the child could be started."""
        self._exit: Exit | None = None
        self._exited = trio.Event()
        self._empty = trio.Event()
        self._settled = trio.Event()
        self._was_emptied = self._is_stuck = False
        self._left: tuple[int, ...] = ()
        self._is_terminated = False
        self._ending = trio.Event()
        self._news = trio.Event()
        """Set when the shim has said something, or has ended, since this was made."""

    @property
    def limits(self) -> ResourceLimits:
        """What its tree may use."""
        return self._command.limits

    @property
    def stuck(self) -> tuple[int, ...]:
        """See `Child.stuck`."""
        if not self._is_stuck or self._empty.is_set():
            return ()
        return self._left or self._shim.zygote.left or ((self.pid,) if self.pid else ())

    async def wait(self) -> Exit:
        """See `Child.wait`."""
        await self._exited.wait()
        assert self._exit is not None  # noqa: S101  set before the event
        return self._exit

    async def wait_empty(self) -> None:
        """See `Child.wait_empty`."""
        await self._empty.wait()

    async def wait_settled(self) -> None:
        """See `Child.wait_settled`."""
        await self._settled.wait()

    def terminate(self, number: signal.Signals = signal.SIGTERM, *, app_only: bool = False) -> None:
        """See `Child.terminate`."""
        if self._exit is not None:
            return
        self._is_terminated = not app_only
        self._tell(bytes([ord("a" if app_only else "t"), number]))

    def kill(self) -> None:
        """See `Child.kill`."""
        self._tell(b"k")
        self._ending.set()

    def kill_because(self, reason: str) -> None:
        """As `kill()`; the exit tells the reason."""
        if self._exit is None:
            self._reason = reason
            self.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """See `Child.send_signal`."""
        if self._exit is None:
            self._tell(bytes([number]))

    def close_pipes(self) -> None:
        """Close the streams of a child whose output nobody wants."""
        self._ends.close_pipes()

    async def wait_started(self) -> Self | None:
        """Wait until the child runs; None if its shim was killed before it could tell.

        Raises `SpawnError` when the child could not be started.

        If cancelled, or if the child does not run: returns when nothing is left of it, or as
        `wait_settled()`.
        """
        runs = False
        try:
            await self._started.wait()
            runs = bool(self.pid)
        finally:
            if not runs:
                self.kill()
                self.close_pipes()
                with trio.CancelScope(shield=True):  # bounded by `_oversee_end`
                    await self._settled.wait()
        if self._error is not None:
            raise self._error
        return self if runs else None

    async def run(self) -> None:
        """Hear what the shim says, until nothing is left of it and its tree.

        If cancelled: the shim finds itself alone, and kills the tree; nobody waits for it.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._oversee_end)
                with self._ends.lifeline:
                    await receive_lines(self._ends.lifeline, self._on_message)
                self._news.set()
                self._note_lost_shim()
                if not self._was_emptied:
                    self._ending.set()
                    await self._shim.gone.wait()
                nursery.cancel_scope.cancel()
        finally:  # on every path: who waits is shielded, and nothing more will be heard
            self._note_lost_shim()
            self._empty.set()
            self._settled.set()

    def _on_message(self, word: str, rest: str) -> None:
        self._news.set()
        match word:
            case "started":
                self.pid, self.shim_pid = map(int, rest.split())
                self._started.set()
            case "failed":
                errno, _, step = rest.partition(" ")
                self._error = _explain(self._command, int(errno), step)
                self._started.set()
            case "exited":
                self._note_exit(_read_status(int(rest)))
                if not self._is_terminated:  # else the rest has time until `kill()`
                    self._ending.set()
            case "left":
                self._left = tuple(map(int, rest.split()))
            case _:  # its last word, after which it ends
                self._was_emptied = True

    def _note_exit(self, status: Exit) -> None:
        if self._exit is None:
            reason = self._reason or (self._explain() if status.code else "")
            self._exit = attrs.evolve(status, reason=reason)
            self._exited.set()

    def _note_lost_shim(self) -> None:
        """Draw the conclusions that the shim cannot tell; no effect if it did."""
        self._started.set()
        self._note_exit(Exit(signal=signal.SIGKILL))  # by the shim, which takes it along

    async def _oversee_end(self) -> None:
        """Bound the time between a kill and its end.

        One wait after the other, each cancelled when nothing is left: a pause of this program may
        outlast several limits, and skips no step.
        """
        await self._ending.wait()
        if await self._wait_silence():
            self._ends.kill_shim(self.shim_pid)  # its zygote may be gone, or hang as well
            if self.pid:  # whatever is to be told of the shim then, who is stopped cannot tell it
                self._shim.zygote.resume()
            with trio.move_on_after(_SHIM_TIMEOUT):
                await self._shim.zygote.kill(self._shim.ident)
                await trio.sleep_forever()
        if not self.pid:  # what does not even start hangs in the zygote, most likely
            self._shim.zygote.abandon()
            with trio.move_on_after(_SHIM_TIMEOUT):
                await trio.sleep_forever()
        await _hear_news()
        self._is_stuck = True
        self._settled.set()
        extra = {"pid": self.pid or "unknown", "left": self.stuck}
        logger.error("child is stuck", extra=extra)

    async def _wait_silence(self) -> bool:
        """Wait until the shim was silent for long; False if it goes on telling what is left."""
        end = trio.current_time() + 2 * _SHIM_TIMEOUT
        while (now := trio.current_time()) < end:
            self._news = trio.Event()
            with trio.move_on_at(min(now + _SHIM_TIMEOUT, end)):
                await self._news.wait()
            await _hear_news()
            if not self._news.is_set():
                return now + _SHIM_TIMEOUT <= end
        return False

    def _tell(self, word: bytes) -> None:
        # Closed or broken: the shim is gone.  Full: it holds the same word many times already.
        with contextlib.suppress(OSError):
            self._ends.lifeline.send(word)


async def _hear_news() -> None:
    """Let those run who have something to hear, before a limit counts that a pause has used up."""
    for _ in range(_TURNS):
        await trio.lowlevel.checkpoint()


def _read_status(status: int) -> Exit:
    """From wait(2)."""
    if os.WIFSIGNALED(status):
        return Exit(signal=os.WTERMSIG(status))
    return Exit(code=os.WEXITSTATUS(status))


def _name(command: Command) -> str:
    return repr(command.argv[0])


def _explain(command: Command, errno: int, step: str) -> SpawnError:
    reason = os.strerror(errno)
    if step == "chdir":
        return SpawnError(f"cannot start {_name(command)} in {str(command.cwd)!r}: {reason}")
    if step == "isolate":
        return SpawnError(f"cannot start {_name(command)} in a PID namespace: {reason}")
    if step == "cgroup":
        return SpawnError(f"cannot start {_name(command)} in a cgroup of its own: {reason}")
    if step == "interpreter":
        return ExecError(f"cannot start {_name(command)}: the interpreter it names is missing")
    if step == "fork" and errno == errors.EAGAIN:
        reason += " (ulimit -u, TasksMax= of systemd, the limit of a container)"
    if step == "exec" and errno in _NO_PROGRAM:
        return ExecError(f"cannot start {_name(command)}: {reason}")
    if step != "exec":
        reason = f"{step}: {reason}"
    return SpawnError(f"cannot start {_name(command)}: {reason}")
