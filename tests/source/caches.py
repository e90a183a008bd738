"""The cache of archives on a real disk, as an agent opens it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import trio

from smartmob_agent.config.settings import Cache, SourceLimits
from smartmob_agent.source.archive.unpack import check_archive
from smartmob_agent.source.cache.disk import open_cache
from smartmob_agent.source.cache.seam import ArchiveCache

__all__ = ["open_disk_cache"]


def open_disk_cache(
    directory: Path, limits: Cache | None = None, *, min_free_bytes: int = 0
) -> AbstractAsyncContextManager[ArchiveCache]:
    check = partial(check_archive, limits=SourceLimits(), check=trio.from_thread.check_cancelled)
    return open_cache(
        directory, limits or Cache(), min_free_bytes=min_free_bytes, check_archive=check
    )
