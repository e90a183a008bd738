"""A download that may be cut short: how its file goes on, and when to request the rest."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Awaitable, Callable
from typing import BinaryIO, TypeVar

import attrs
import trio

from smartmob_agent.errors import TransientDownloadError
from smartmob_agent.source.disk.free_space import FreeSpace
from smartmob_agent.source.download.response import ResponseHead
from smartmob_agent.source.download.seam import Fetched, PartialFile

__all__ = [
    "Retries",
    "append",
    "complete",
    "open_file",
    "range_headers",
    "remove_file",
    "restart",
    "resume",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

BASE_DELAY = 1.0
"""Longest first delay, in seconds; each further one in a row is at most twice as long."""

STEADY_BYTES = 1024 * 1024
"""A try that receives so many bytes is a success: the delay after it is the first one again."""


def restart(part: PartialFile, head: ResponseHead) -> None:
    """Replace the bytes of a file by the whole archive, which the response with `head` has."""
    part.reset()
    part.whole_bytes, part.etag, part.shown = head.length, head.etag, head.shown
    part.is_verbatim = not head.encoding


def resume(part: PartialFile, head: ResponseHead) -> bool:
    """Append the body of the response with `head`; False if it is not the rest."""
    rest = head.content_range
    if rest is None or head.encoding or head.etag not in {None, part.etag}:
        return False
    whole = {size for size in (rest.whole_bytes, part.whole_bytes) if size is not None}
    if rest.first != part.size_bytes or whole != {rest.end}:
        return False
    part.whole_bytes = rest.end
    return head.length in {None, rest.end - rest.first}


def complete(part: PartialFile, *, ends_by_close: bool) -> Fetched:
    """The file has the whole archive, as far as its server says.

    ends_by_close: see `Fetched`.
    """
    part.whole_bytes = part.size_bytes
    return Fetched(
        sha256=part.digest.hexdigest(),
        size_bytes=part.size_bytes,
        etag=part.etag,
        ends_by_close=ends_by_close,
    )


def range_headers(part: PartialFile, shown: str) -> dict[str, str]:
    """Headers for the rest of the same archive, or all of another one (RFC 9110, 13.1.5).

    shown: the URL of the request; none of the bytes count for a URL that they did not come from.
    """
    if not part.can_resume or part.etag is None or shown != part.shown:
        return {}
    return {"Range": f"bytes={part.size_bytes}-", "If-Range": part.etag}


def open_file(part: PartialFile, min_free_bytes: int) -> BinaryIO:
    """Open a file to append to it; blocks.

    min_free_bytes: of the disk, which stay free.

    Raises `OSError`, also when the disk has no space for what the server is about to send.
    """
    with contextlib.ExitStack() as stack:
        if part.size_bytes:
            file = stack.enter_context(part.path.open("r+b", buffering=0))
            _seek_end(file, part.size_bytes)
        else:
            file = stack.enter_context(part.path.open("wb", buffering=0))
        if part.whole_bytes is not None:
            _take_space(file, part.whole_bytes - part.size_bytes, min_free_bytes)
        stack.pop_all()
    return file


def append(part: PartialFile, file: BinaryIO, data: bytearray, min_free_bytes: int) -> None:
    """Append to a file, as `open_file` returned it; blocks, and raises `OSError`."""
    _take_space(file, len(data), min_free_bytes)
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
    part.digest.update(data)
    part.size_bytes += len(data)


def remove_file(part: PartialFile) -> None:
    """Remove a file, if there is one and the disk allows that; blocks."""
    part.reset()
    with contextlib.suppress(OSError):
        part.path.unlink()


def _seek_end(file: BinaryIO, size: int) -> None:
    """Go to the end of the known bytes; a write that failed may have left more."""
    if file.seek(0, os.SEEK_END) < size:
        raise OSError(errno.ESTALE, "expected what came before, found less")
    file.truncate(size)
    file.seek(size)


def _take_space(file: BinaryIO, size: int, min_free_bytes: int) -> None:
    FreeSpace(fd=file.fileno(), min_free_bytes=min_free_bytes).take(size)


@attrs.define(eq=False, kw_only=True)
class Retries:
    """The tries of one download, after exponential delays with full jitter.

    limit: tries in a row that receive next to nothing.
    random: as `random.random`; it spreads the tries of many agents after a server's outage.
    """

    limit: int
    random: Callable[[], float]
    _count: int = 0

    def delay(self, received_bytes: int) -> float | None:
        """Seconds until the next try, None when there are to be no more.

        received_bytes: by the last try.
        """
        self._count = 1 if received_bytes >= STEADY_BYTES else self._count + 1
        if self._count > self.limit:
            return None
        return float(self.random() * BASE_DELAY * 2 ** (self._count - 1))

    async def run(self, part: PartialFile, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `attempt`, repeated while it can resume what `part` has.

        Raises `TransientDownloadError` when it cannot, when there are to be no more tries, or when
        the server says how long to wait: that is up to the caller.
        """
        while True:
            before = part.size_bytes
            try:
                return await attempt()
            except TransientDownloadError as exc:
                delay = self.delay(part.size_bytes - before)
                can_go_on = before or part.can_resume
                if delay is None or exc.retry_after is not None or not can_go_on:
                    raise
                logger.info("cut short", extra={"error": str(exc), "delay": f"{delay:.1f}"})
            await trio.sleep(delay)
