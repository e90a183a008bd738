"""Downloads of source archives."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

__all__ = ["Fetcher"]


class Fetcher(Protocol):
    """Downloads archives."""

    async def fetch(self, url: str, destination: Path, *, request_id: str) -> None:
        """Download `url` into the file `destination`, replacing what an earlier try left.

        request_id: sent as `X-Request-Id`, so that the archive's server can tell why.

        Raises `DownloadError` when trying again cannot mend it, else `PassingDownloadError`.
        No message holds the credentials, query or fragment of a URL.

        If cancelled: closes the connection; the file stays as it is.
        """
        ...
