"""The console of a process: the latest of its output, for any number of readers."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from functools import cached_property

import attrs
import trio

from smartmob_agent.errors import AgentError
from smartmob_agent.output.frames import text_frames

__all__ = ["Batch", "Console", "ConsoleEnd", "Cursor", "LinesMissedError", "Stream"]

_LINE_BYTES = 64
"""What a line costs in memory besides its text: the object's header and a pointer to it."""
_BATCH_BYTES = 512
"""The same for a batch."""


class Stream(enum.StrEnum):
    """Where the child wrote a line to."""

    STDOUT = "stdout"
    STDERR = "stderr"


class ConsoleEnd(enum.Enum):
    """Why a console has ended."""

    PROCESS = "process"
    """Its process was deleted."""
    AGENT = "agent"
    """The agent stops."""


class LinesMissedError(AgentError):
    """A reader was too slow: `lines` lines which it did not read are gone."""

    def __init__(self, lines: int) -> None:
        super().__init__(f"{lines} lines missed")
        self.lines = lines


@attrs.frozen(kw_only=True, slots=False)
class Batch:
    """Lines which came at once from one stream.

    first: number of the first line; lines are numbered from 1 for the life of the process.
    lines: valid UTF-8 without line ends, at least one.
    """

    first: int
    stream: Stream
    lines: Sequence[bytes]

    @cached_property
    def frames(self) -> bytes:
        """Each line in a WebSocket text frame: made once for all clients."""
        return text_frames(self.lines)

    @cached_property
    def cost_bytes(self) -> int:
        """Memory that the batch takes, about: its text as lines and as frames."""
        return 2 * sum(map(len, self.lines)) + _LINE_BYTES * len(self.lines) + _BATCH_BYTES


class Console:
    """A bounded ring of batches.  Publishing never waits and never grows it.

    dropped: how many batches made room for later ones.
    changed: where cursors wait for a batch or the end.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self.batches: deque[Batch] = deque()
        self.dropped = 0
        self.changed = trio.lowlevel.ParkingLot()
        self.next_line = 1
        self.end: ConsoleEnd | None = None

    def publish(self, stream: Stream, lines: Sequence[bytes]) -> None:
        """Add lines, at the cost of the oldest; nothing happens without lines or after the end.

        The newest batch always stays, whatever it costs.
        """
        if not lines or self.end is not None:
            return
        batch = Batch(first=self.next_line, stream=stream, lines=lines)
        self.next_line += len(lines)
        self.batches.append(batch)
        self._bytes += batch.cost_bytes
        while self._bytes > self._max_bytes and len(self.batches) > 1:
            self._bytes -= self.batches.popleft().cost_bytes
            self.dropped += 1
        self.changed.unpark_all()

    def close(self, end: ConsoleEnd) -> None:
        """End the console; what it holds can still be read.  Only the first call counts."""
        if self.end is None:
            self.end = end
            self.changed.unpark_all()

    def subscribe(self) -> Cursor:
        """Return a reader which begins with the next line."""
        return Cursor(self, self.dropped + len(self.batches), self.next_line)


class Cursor:
    """One reader of a console.  It costs nothing that would have to be given back."""

    def __init__(self, console: Console, position: int, next_line: int) -> None:
        self._console = console
        self._position = position
        self.next_line = next_line

    async def receive(self) -> Batch:
        """Wait for the next batch.

        Raises `LinesMissedError` when the ring dropped what comes next, and
        `trio.EndOfChannel` when the console has ended and all of it was read.

        If cancelled: nothing is lost, the next call returns it.
        """
        console = self._console
        await trio.lowlevel.checkpoint()
        while (index := self._position - console.dropped) == len(console.batches):
            if console.end is not None:
                raise trio.EndOfChannel
            await console.changed.park()
        if index < 0:
            raise LinesMissedError(console.batches[0].first - self.next_line)
        batch = console.batches[index]
        self._position += 1
        self.next_line = batch.first + len(batch.lines)
        return batch
