"""The interface of what downloads archives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

__all__ = ["FetchRequest", "Fetched", "Fetcher", "PartialFile", "Progress", "ignore_progress"]

Progress = Callable[[int, int | None], None]


def ignore_progress(_received: int, _total: int | None) -> None:
    """A `FetchRequest.progress` that does nothing."""


@attrs.define(eq=False, kw_only=True)
class PartialFile:
    """A file that an archive is downloaded into, and all that is known of the bytes in it.

    It belongs to one URL, and to the caller of `Fetcher.fetch`, who removes the file in the end.
    The fetcher keeps the rest up to date.

    path: of the file; there need not be one yet.
    size_bytes: how many bytes of the archive the file has.
    whole_bytes: size of the whole archive, None if the server did not say.
    etag: a strong one of the whole archive, None if the server sent none.
    shown: the URL that the bytes came from, after redirects, as messages may name it.
    is_verbatim: whether the file has the bytes as they were sent, without a Content-Encoding.
    digest: SHA-256 of the bytes so far.
    """

    path: Path
    size_bytes: int = 0
    whole_bytes: int | None = None
    etag: str | None = None
    shown: str = ""
    is_verbatim: bool = True
    digest: hashlib._Hash = attrs.field(factory=hashlib.sha256, repr=False)

    @property
    def can_resume(self) -> bool:
        """Whether the rest alone can be requested; a range counts the bytes that are sent."""
        is_part = self.size_bytes not in {0, self.whole_bytes}
        return is_part and self.etag is not None and self.is_verbatim

    def reset(self) -> None:
        """Count no byte of the file as downloaded; the next download replaces them."""
        self.size_bytes = 0
        self.digest = hashlib.sha256()


@attrs.frozen(kw_only=True)
class FetchRequest:
    """One archive to download.

    partial: the file to download into, with what an earlier request for `url` left there.
    request_id: sent as `X-Request-Id`, so that the server's log can name the create request.
    etag: of the archive that the caller has; the server need not send the same one again.
    progress: called with the bytes received so far and with the size of the whole archive, None
        if the server does not say.
    """

    url: str = attrs.field(repr=False)
    partial: PartialFile
    request_id: str
    etag: str | None = None
    progress: Progress = ignore_progress


@attrs.frozen(kw_only=True)
class Fetched:
    """An archive that was downloaded.

    sha256: 64 hexadecimal digits, of the bytes in the file.
    size_bytes: of the file.
    etag: as the server sent it, with its quotes; None if it sent none, or a weak one.
    ends_by_close: whether only the end of the connection told that this is all; some may lack.
    """

    sha256: str
    size_bytes: int
    etag: str | None = None
    ends_by_close: bool = False


class Fetcher(Protocol):
    """Downloads archives."""

    async def fetch(self, request: FetchRequest) -> Fetched | None:
        """Download an archive into the file of `request.partial`.

        Returns None, and writes no file, if the server still has the archive with `request.etag`.

        Raises `DownloadError` when a retry cannot help, else `TransientDownloadError`.  No
        message contains the credentials, query or fragment of a URL.

        After a `TransientDownloadError` the partial says what is in its file, and the caller may
        put it into another request for the same URL, which downloads only the rest if the server
        allows that.  A fetcher that cannot resume replaces the file.

        If cancelled: closes the connection; the file stays until the caller removes it.
        """
        ...
