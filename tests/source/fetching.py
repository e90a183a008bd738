"""Requests for archives."""

from __future__ import annotations

from pathlib import Path

from smartmob_agent.source.download.seam import (
    FetchRequest,
    PartialFile,
    Progress,
    ignore_progress,
)

__all__ = ["make_request"]


def make_request(
    url: str,
    path: Path,
    *,
    request_id: str = "id",
    etag: str | None = None,
    progress: Progress = ignore_progress,
) -> FetchRequest:
    """A request that downloads into a new file."""
    return FetchRequest(
        url=url,
        partial=PartialFile(path=path),
        request_id=request_id,
        etag=etag,
        progress=progress,
    )
