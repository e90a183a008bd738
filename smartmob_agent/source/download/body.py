"""The body of a response on its way to the disk: counted, decoded, written in batches."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import BinaryIO

import attrs
import trio

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, TransientDownloadError
from smartmob_agent.source.download.partial import append, open_file
from smartmob_agent.source.download.response import ResponseHead
from smartmob_agent.source.download.seam import PartialFile
from smartmob_agent.source.gunzip import DamagedError, Gunzip

__all__ = ["BodyWriter", "open_body_writer"]

# One trip to a thread costs about as much as writing 100 KiB.
BATCH_BYTES = 1024 * 1024

# What one call of zlib may inflate: about a millisecond of work.
PIECE_BYTES = 256 * 1024


@attrs.define(eq=False, kw_only=True)
class BodyWriter:
    """Writes what one response has of an archive.

    shown: the URL as messages may name it.
    limits: `archive_bytes` for what is received, and for what is written.
    expected_bytes: of the whole archive as it is sent, None if that is not known.
    ends_by_close: whether only the end of the connection tells that this was all.
    gunzip: undoes the Content-Encoding of the response, None if there is none.
    received_bytes: of the archive, earlier responses included.
    """

    part: PartialFile
    file: BinaryIO
    shown: str
    limits: SourceLimits
    expected_bytes: int | None
    ends_by_close: bool
    gunzip: Gunzip | None
    received_bytes: int
    _batch: bytearray = attrs.field(factory=bytearray)

    async def take(self, chunk: bytes) -> None:
        """Take the next piece of the body; raises `DownloadError` over the limit."""
        self.received_bytes += len(chunk)
        self._check_size(self.received_bytes)
        for piece in self._decode(chunk):
            self._batch += piece
            if len(self._batch) >= BATCH_BYTES:
                await self.flush()

    def check_complete(self, error: TransientDownloadError | None) -> None:
        """Raise `error`, or the error for a body that is not complete."""
        if error is not None:
            raise error
        if self.expected_bytes is not None and self.received_bytes != self.expected_bytes:
            raise self.cut_short()
        has_all = self.received_bytes > 0 and (self.gunzip is None or self.gunzip.eof)
        if self.ends_by_close and not has_all:
            raise self.cut_short()
        if self.gunzip is not None and not self.gunzip.eof:
            raise DownloadError(f"{self.shown}: its Content-Encoding gzip is cut short")

    def cut_short(self) -> TransientDownloadError:
        """The error for a connection that ended too early."""
        expected = "" if self.expected_bytes is None else f" of {self.expected_bytes}"
        return TransientDownloadError(
            f"{self.shown}: cut short after {self.received_bytes}{expected} bytes"
        )

    async def flush(self) -> None:
        """Write what was taken."""
        batch, self._batch = self._batch, bytearray()
        self._check_size(self.part.size_bytes + len(batch))
        await trio.to_thread.run_sync(
            append, self.part, self.file, batch, self.limits.min_free_bytes
        )

    def _decode(self, chunk: bytes) -> Iterator[bytes]:
        if self.gunzip is None:
            yield chunk
            return
        try:
            yield self.gunzip.decompress(chunk, PIECE_BYTES)
            while not (self.gunzip.needs_input or self.gunzip.eof):
                yield self.gunzip.decompress(b"", PIECE_BYTES)
        except DamagedError as exc:
            raise DownloadError(f"{self.shown}: its Content-Encoding gzip is damaged") from exc

    def _check_size(self, size: int) -> None:
        limit = self.limits.archive_bytes
        if size > limit:
            raise DownloadError(f"{self.shown}: expected at most {limit} bytes, found more")


@contextlib.asynccontextmanager
async def open_body_writer(
    part: PartialFile, head: ResponseHead, limits: SourceLimits
) -> AsyncGenerator[BodyWriter]:
    """Open the file of `part` for the body of the response with `head`; see `BodyWriter`.

    Raises `DownloadError` at once when the archive is to be over the limit, and `OSError` when
    the disk is full or cannot be written.
    """
    expected = part.whole_bytes
    if expected is not None and expected > limits.archive_bytes:
        raise DownloadError(
            f"{head.shown}: expected at most {limits.archive_bytes} bytes, found {expected}"
        )
    gunzip = head.decoder()
    file = await trio.to_thread.run_sync(open_file, part, limits.min_free_bytes)
    try:
        yield BodyWriter(
            part=part,
            file=file,
            shown=head.shown,
            limits=limits,
            expected_bytes=expected,
            ends_by_close=expected is None and not head.is_chunked,
            gunzip=gunzip,
            received_bytes=part.size_bytes,
        )
    finally:
        file.close()  # not buffered: nothing is left to write
