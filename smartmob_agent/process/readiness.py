"""Watching a child until its start counts as good."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import trio

from smartmob_agent.output.batch import Batch, Event
from smartmob_agent.output.cursor import Cursor, MissedError
from smartmob_agent.output.line_pattern import LinePattern, SlowPatternError
from smartmob_agent.process.network import LocalNetwork, Notifications, ProbeError
from smartmob_agent.process.policies import Readiness

__all__ = ["ReadinessProbe"]

_PROBE_TIMEOUT = 5.0
"""Seconds that one probe may take."""

_REDIRECTS, _ERRORS = 300, 400
"""Statuses of HTTP from which on an answer is one of these: RFC 9110, section 15."""

_LINES_A_TURN = 100


@attrs.define(eq=False, kw_only=True)
class ReadinessProbe:
    """Finds out when one child is ready.

    port: of the child; None if it has none.
    notifications: what the child says of itself, if that is what counts.
    output: reads what the child writes, from its first line on.
    """

    wish: Readiness
    network: LocalNetwork
    port: int | None
    notifications: Notifications | None
    output: Cursor[Batch | Event]
    _pid: int = 0
    _reason: str = ""

    async def wait_ready(self, pid: int, report_late: Callable[[str], None]) -> None:
        """Wait until the child is ready.

        pid: of the child: another one may write to the same console.
        report_late: is called once, with the reason, if the child is not ready in time.

        If cancelled: ends the probe that is under way; there is never more than one.
        """
        self._pid = pid
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report_late, report_late)
            await self._wait()
            nursery.cancel_scope.cancel(reason="the child is ready")

    async def _report_late(self, report_late: Callable[[str], None]) -> None:
        await trio.sleep(self.wish.timeout)
        report_late(f"not ready after {self.wish.timeout:g} s: {self._reason}")

    async def _wait(self) -> None:
        wish = self.wish
        if wish.after is not None:
            self._reason = f"it counts as ready when it has run for {wish.after:g} s"
            await trio.sleep(wish.after)
        elif self.notifications is not None:
            self._reason = "it has not said READY=1 at NOTIFY_SOCKET"
            await self.notifications.wait_ready()
        elif wish.log is not None:
            await self._wait_line(wish.log)
        elif self.port is None:
            self._reason = "it has no port of the agent's; `env` or its Procfile may set PORT"
            await trio.sleep_forever()
        else:
            await self._wait_answer(self.port, wish.http)

    async def _wait_line(self, text: str) -> None:
        self._reason = f"no line of its output has a match of {text!a}"
        pattern = LinePattern(text)
        try:
            while not await self._has_match(pattern):
                pass
        except SlowPatternError as exc:
            self._reason = str(exc)
            await trio.sleep_forever()

    async def _has_match(self, pattern: LinePattern) -> bool:
        """Whether there is a match in the next lines."""
        try:
            item = await self.output.receive()
        except MissedError:
            return False  # It goes on with what is left.
        if isinstance(item, Batch) and item.origin.pid == self._pid:
            for count, line in enumerate(item.lines):
                if pattern.is_in(line):
                    return True
                if count % _LINES_A_TURN == _LINES_A_TURN - 1:
                    await trio.lowlevel.checkpoint()
        return False

    async def _wait_answer(self, port: int, path: str | None) -> None:
        """Probe again and again, one after the other."""
        where = f"port {port}"
        probe = partial(self.network.connect, port)
        if path is not None:
            where = f"GET {path} at port {port}"
            probe = partial(self._get, port, path)
        self._reason = f"{where}: no probe has ended"
        while True:
            try:
                with trio.fail_after(_PROBE_TIMEOUT):
                    await probe()
            except ProbeError as exc:
                self._reason = f"{where}: {exc}"
            except trio.TooSlowError:
                self._reason = f"{where}: no answer in {_PROBE_TIMEOUT:g} s"
            else:
                return
            await trio.sleep(self.wish.interval)

    async def _get(self, port: int, path: str) -> None:
        status = await self.network.get(port, path)
        if not _REDIRECTS - 100 <= status < _ERRORS:
            raise ProbeError(f"status {status}")
