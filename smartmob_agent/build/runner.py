"""Runs the program of a builder as a child, to its end."""

from __future__ import annotations

import attrs
import trio

from smartmob_agent.child.seam import Child, Command, Exit, Spawner
from smartmob_agent.errors import BuildError
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.pump import Sink, pump_all

__all__ = ["Runner"]


@attrs.frozen(kw_only=True)
class Runner:
    """Starts programs below the guard.

    line_bytes: the longest line of their output.
    drain_timeout: seconds to wait for the end of the output once the tree is gone.
    """

    spawner: Spawner
    line_bytes: int
    drain_timeout: float

    async def run(self, command: Command, sink: Sink) -> Exit:
        """Run a program; return how it ended, once nothing is left of its tree.

        sink: gets what it writes.

        Raises `SpawnError`, and `BuildError` when not even SIGKILL ends the tree.

        If cancelled: kills the tree, and returns when nothing is left of it, in 10 s at most.
        """
        child = await self.spawner.spawn(command)
        output = trio.CancelScope(shield=True)  # Its deadline is set below, on every path.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, child, sink, output)
            try:
                how = await child.wait()
            finally:
                child.kill()
                # Bounded by what `Child` says of a kill.
                with trio.CancelScope(shield=True):
                    await child.wait_settled()
                output.deadline = trio.current_time() + self.drain_timeout
        if child.stuck:
            pids = ", ".join(map(str, child.stuck))
            raise BuildError(f"not even SIGKILL ends pid {pids} of the build")
        return how

    async def _read(self, child: Child, sink: Sink, scope: trio.CancelScope) -> None:
        pipes = {Stream.STDOUT: child.stdout, Stream.STDERR: child.stderr}
        with scope:
            await pump_all(pipes, sink, self.line_bytes)
