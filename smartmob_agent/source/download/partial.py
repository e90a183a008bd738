"""What is there of an archive, and how to ask for the rest."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import attrs

from smartmob_agent.errors import TransientDownloadError
from smartmob_agent.source.disk.free_space import FreeSpace
from smartmob_agent.source.download.response import ResponseHead

__all__ = ["PartialFile", "PartialFiles"]

PARTS = 100
"""Parts that are remembered.  Their files may be gone when nobody comes back for them."""


@attrs.define(eq=False, kw_only=True)
class PartialFile:
    """The beginning of an archive in a file, over all tries to get the rest.

    path: of the file.
    min_free_bytes: of the disk.
    size_bytes: what the file has of it.
    whole_bytes: of the whole, None if the server did not say.
    etag: a strong one of the whole; None if the server sent none.
    """

    path: Path
    min_free_bytes: int
    size_bytes: int = 0
    whole_bytes: int | None = None
    etag: str | None = None
    _shown: str = ""
    _is_verbatim: bool = True
    _digest: hashlib._Hash = attrs.field(factory=hashlib.sha256)

    def begin(self, answer: ResponseHead) -> None:
        """Forget what is there: `answer` brings the whole, maybe another one."""
        self.size_bytes, self.whole_bytes = 0, answer.length
        self.etag, self._shown = answer.etag, answer.shown
        self._is_verbatim = not answer.encoding
        self._digest = hashlib.sha256()

    def forget(self) -> None:
        """Forget what is there; the file is written from its beginning again."""
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of what is there, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def can_go_on(self) -> bool:
        """Whether the rest alone can be asked for; a range is one of what the server sends."""
        return self.size_bytes > 0 and self.etag is not None and self._is_verbatim

    def headers(self, shown: str) -> dict[str, str]:
        """What asks for the rest, and for the whole if that is another one now (RFC 9110, 13.1.5).

        shown: the URL to be asked; for another one than before there is nothing to go on with.
        """
        if not self.can_go_on or self.etag is None or shown != self._shown:
            return {}
        return {"Range": f"bytes={self.size_bytes}-", "If-Range": self.etag}

    def go_on(self, answer: ResponseHead) -> bool:
        """Take the body of `answer` for the rest; False if it does not follow what is there."""
        rest = answer.content_range
        if rest is None or answer.encoding or answer.etag not in {None, self.etag}:
            return False
        whole = {size for size in (rest.whole_bytes, self.whole_bytes) if size is not None}
        if rest.first != self.size_bytes or whole != {rest.end}:
            return False
        self.whole_bytes = rest.end
        return answer.length in {None, rest.end - rest.first}

    def open(self) -> BinaryIO:
        """Open the file to write what comes next; blocks.

        Raises `OSError`, also when there is no room on the disk for what is known to come.
        """
        with contextlib.ExitStack() as stack:
            if self.size_bytes:
                file = stack.enter_context(self.path.open("r+b", buffering=0))
                self._go_to_end(file)
            else:
                file = stack.enter_context(self.path.open("wb", buffering=0))
            if self.whole_bytes is not None:
                self._take_room(file, self.whole_bytes - self.size_bytes)
            stack.pop_all()
        return file

    def _go_to_end(self, file: BinaryIO) -> None:
        """Behind what is known to be there; more may be, if a write has failed."""
        if file.seek(0, os.SEEK_END) < self.size_bytes:
            raise OSError(errno.ESTALE, "expected what came before, found less")
        file.truncate(self.size_bytes)
        file.seek(self.size_bytes)

    def _take_room(self, file: BinaryIO, size: int) -> None:
        FreeSpace(fd=file.fileno(), min_free_bytes=self.min_free_bytes).take(size)

    def write(self, file: BinaryIO, data: bytearray) -> None:
        """Append to the file; blocks, and raises `OSError`."""
        self._take_room(file, len(data))
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        self._digest.update(data)
        self.size_bytes += len(data)

    def remove(self) -> None:
        """Remove the file, if there is one and the disk lets us; blocks."""
        self.forget()
        with contextlib.suppress(OSError):
            self.path.unlink()


@attrs.define(eq=False, kw_only=True)
class PartialFiles:
    """What is left of downloads that were cut short, for the next ones to the same places.

    min_free_bytes: of the disk.
    """

    min_free_bytes: int
    _kept: dict[tuple[str, Path], PartialFile] = attrs.field(factory=dict)

    def take(self, url: str, path: Path) -> PartialFile:
        """Return what is left for this download, or a new one; nobody else gets the same."""
        part = self._kept.pop((url, path), None)
        return part or PartialFile(path=path, min_free_bytes=self.min_free_bytes)

    @contextlib.contextmanager
    def keep(self, url: str, part: PartialFile) -> Iterator[None]:
        """Keep `part` for the next download if this one fails and that may mend itself."""
        try:
            yield
        except TransientDownloadError:
            if part.can_go_on:
                self._kept[url, part.path] = part
                if len(self._kept) > PARTS:
                    del self._kept[next(iter(self._kept))]
            raise
