"""How a child is ended: it is asked, then killed, and then waited for."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from smartmob_agent.child.seam import Child
from smartmob_agent.process.policies import StopPolicy

__all__ = ["Termination"]


@attrs.define(eq=False, kw_only=True)
class Termination:
    """Ends the children of one process, one after the other, and knows how long it may take.

    policy: how they are asked to end.
    stop_timeout: seconds from that to SIGKILL, unless the policy says it.
    """

    policy: StopPolicy
    stop_timeout: float
    _child: Child | None = None
    _asks_first: bool = True
    _waits_for_stuck: bool = True
    _waiting: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def wait_no_longer(self) -> None:
        """Wait no longer for what not even SIGKILL ends, from now on."""
        self._waits_for_stuck = False
        self._waiting.cancel(reason="the agent is to stop")

    def kill_at_once(self) -> None:
        """Kill at once, from now on."""
        self._asks_first = False
        if self._child is not None:
            self._child.kill()

    async def run(self, child: Child, report_stuck: Callable[[Child], None]) -> None:
        """Leave nothing of the tree, whether the child has ended already or not.

        report_stuck: called when not even SIGKILL has ended it.

        It takes the time-out and what `Child` says of a kill, and longer only for what is
        stuck, unless `wait_no_longer` was called.

        If cancelled: the tree is killed, and nobody waits for its end.
        """
        self._child = child
        try:
            await self._ask(child)
        finally:
            self._child = None
            child.kill()
        await child.wait_settled()
        if child.stuck:
            report_stuck(child)
            await self._wait(child)

    async def _ask(self, child: Child) -> None:
        if self._asks_first:
            child.terminate(self.policy.signal, app_only=self.policy.to == "app")
            timeout = self.policy.timeout
            with trio.move_on_after(self.stop_timeout if timeout is None else timeout):
                await child.wait_empty()

    async def _wait(self, child: Child) -> None:
        self._waiting = trio.CancelScope()
        if not self._waits_for_stuck:
            self._waiting.cancel()
        with self._waiting:
            await child.wait_empty()
