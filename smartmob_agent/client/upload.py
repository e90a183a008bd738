"""A file as the body of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

__all__ = ["FileBody"]

_PART_BYTES = 256 * 1024
"""Each part is a trip to a thread."""


class _File(Protocol):
    async def read(self, size: int, /) -> bytes: ...


class FileBody:
    """The parts of a file; no generator, which a request that fails would leave unfinished.

    progress: called with the bytes that were read and those of the whole file.
    """

    def __init__(
        self,
        file: _File,
        size: int,
        progress: Callable[[int, int], object],
    ) -> None:
        self._file = file
        self._size = size
        self._read = 0
        self._progress = progress

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not (part := await self._file.read(_PART_BYTES)):
            raise StopAsyncIteration
        self._read += len(part)
        self._progress(self._read, self._size)
        return part
