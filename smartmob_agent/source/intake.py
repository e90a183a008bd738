"""The body of an answer on its way to the disk: counted, decoded, written in batches."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import BinaryIO

import attrs
import trio

from smartmob_agent.errors import DownloadError, PassingDownloadError
from smartmob_agent.source.decompress import DamagedError, Gunzip

__all__ = ["Intake", "open_intake"]

# One trip to a thread costs about as much as writing 100 KiB.
BATCH_BYTES = 1024 * 1024

# What one call of zlib may inflate: about a millisecond of work.
PIECE_BYTES = 256 * 1024


@attrs.define(eq=False, kw_only=True)
class Intake:
    """Writes one archive.

    shown: the URL as messages may name it.
    limit_bytes: for what is received, and for what is written.
    expected_bytes: what the server says it sends, None if it does not.
    gunzip: undoes the Content-Encoding of the answer, None if there is none.
    """

    file: BinaryIO
    shown: str
    limit_bytes: int
    expected_bytes: int | None
    gunzip: Gunzip | None
    received_bytes: int = 0
    written_bytes: int = 0
    _digest: hashlib._Hash = attrs.field(factory=hashlib.sha256)
    _batch: bytearray = attrs.field(factory=bytearray)

    @property
    def sha256(self) -> str:
        """The digest of what was written, in hexadecimal."""
        return self._digest.hexdigest()

    async def take(self, chunk: bytes) -> None:
        """Take the next part of the body; raises `DownloadError` over the limit."""
        self.received_bytes += len(chunk)
        self._check_size(self.received_bytes)
        for piece in self._decode(chunk):
            self._batch += piece
            if len(self._batch) >= BATCH_BYTES:
                await self._flush()

    async def finish(self) -> None:
        """Write what is left.

        Raises `PassingDownloadError` when less came than the server said.
        """
        if self.expected_bytes is not None and self.received_bytes != self.expected_bytes:
            raise self.cut_short()
        if self.gunzip is not None and not self.gunzip.eof:
            raise DownloadError(f"{self.shown}: its Content-Encoding gzip is cut short")
        await self._flush()

    def cut_short(self) -> PassingDownloadError:
        """The error for a connection that ended too early."""
        expected = "" if self.expected_bytes is None else f" of {self.expected_bytes}"
        return PassingDownloadError(
            f"{self.shown}: cut short after {self.received_bytes}{expected} bytes"
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

    async def _flush(self) -> None:
        batch, self._batch = self._batch, bytearray()
        self.written_bytes += len(batch)
        self._check_size(self.written_bytes)
        await trio.to_thread.run_sync(self._write, batch)

    def _write(self, batch: bytearray) -> None:
        """Write in a thread, which the digest is worth, too."""
        self.file.write(batch)
        self._digest.update(batch)

    def _check_size(self, size: int) -> None:
        if size > self.limit_bytes:
            raise DownloadError(
                f"{self.shown}: expected at most {self.limit_bytes} bytes, found more"
            )


@contextlib.asynccontextmanager
async def open_intake(
    destination: Path,
    *,
    shown: str,
    limit_bytes: int,
    expected_bytes: int | None,
    gunzip: Gunzip | None,
) -> AsyncGenerator[Intake]:
    """Open `destination` for one archive; see `Intake`.

    Raises `DownloadError` at once when `expected_bytes` is over the limit, and
    `PassingDownloadError` when the disk says no.
    """
    if expected_bytes is not None and expected_bytes > limit_bytes:
        raise DownloadError(
            f"{shown}: expected at most {limit_bytes} bytes, found {expected_bytes}"
        )
    try:
        async with await trio.open_file(destination, "wb") as file:
            yield Intake(
                file=file.wrapped,
                shown=shown,
                limit_bytes=limit_bytes,
                expected_bytes=expected_bytes,
                gunzip=gunzip,
            )
    except OSError as exc:
        raise PassingDownloadError(f"{shown}: cannot be written: {exc.strerror}") from exc
