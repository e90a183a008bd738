"""Downloads of source archives over HTTP: the only module that knows httpx.

The transport of httpx is used without its client: so there is no cookie jar that apps
would share, no proxy and password file from the environment, no decoding that inflates
without bound, and no log line with a whole URL.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import attrs
import httpx
import trio

from smartmob_agent.config import SourceLimits
from smartmob_agent.errors import DownloadError, PassingDownloadError
from smartmob_agent.source.decompress import Gunzip
from smartmob_agent.source.hops import Hop, first_hop, next_hop
from smartmob_agent.source.intake import Intake, open_intake
from smartmob_agent.source.urls import public_url

__all__ = ["Fetched", "Fetcher", "HttpFetcher", "open_fetcher"]

# What is wrong with the URL itself; a host name may be too long to be looked up.
UNASKABLE = (
    httpx.InvalidURL,
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
    UnicodeError,
)

CLOSE_TIMEOUT = 1.0
"""Seconds to close a connection; on the way out of a download that was cancelled, too."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429})


# "W/" in front of it would say that different bytes may have the same one (RFC 9110, 8.8.1).
STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]{0,254}"')

Progress = Callable[[int, int | None], None]


@attrs.frozen(kw_only=True)
class Fetched:
    """An archive that was downloaded.

    sha256: 64 hexadecimal digits, of the bytes in the file.
    size_bytes: of the file.
    etag: as the server sent it, with its quotes; None if it sent none, or a weak one.
    """

    sha256: str
    size_bytes: int
    etag: str | None = None


def ignore_progress(_received: int, _total: int | None) -> None:
    """What `Fetcher.fetch` calls if nobody wants to know."""


class Fetcher(Protocol):
    """Downloads archives."""

    async def fetch(
        self,
        url: str,
        destination: Path,
        *,
        request_id: str,
        etag: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Fetched | None:
        """Download `url` into the file `destination`, replacing what is there.

        request_id: sent as `X-Request-Id`, so that the archive's server can tell why.
        etag: of the archive that the caller holds already.  If the server has no other one, the
            result is None, and the file is not touched.
        progress: called with the bytes received so far, and with those of the whole archive or
            None where the server does not say.

        Raises `DownloadError` when trying again cannot mend it, else `PassingDownloadError`.
        No message holds the credentials, query or fragment of a URL.  After a
        `PassingDownloadError`, or if cancelled, the file stays as it is: a later call with the
        same URL and destination may go on where this one ended.

        If cancelled: closes the connection.
        """
        ...


@contextlib.asynccontextmanager
async def open_fetcher(limits: SourceLimits) -> AsyncGenerator[Fetcher]:
    """Make the fetcher of an agent; at the end its connections are closed.

    Certificates are checked against those of certifi, or what `SSL_CERT_FILE` or
    `SSL_CERT_DIR` names.
    """
    # Each download has its own connection: nothing to share, nothing to wait for.
    pool = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncHTTPTransport(limits=pool) as transport:
        yield HttpFetcher(limits=limits, transport=transport)


@attrs.define(eq=False, kw_only=True)
class HttpFetcher:
    """The real `Fetcher`.

    transport: closed by the one who made it.
    """

    limits: SourceLimits
    transport: httpx.AsyncBaseTransport

    async def fetch(
        self,
        url: str,
        destination: Path,
        *,
        request_id: str,
        etag: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Fetched | None:
        """As `Fetcher.fetch`; after a `DownloadError` there is no file."""
        shown = public_url(url)
        try:
            with trio.fail_after(self.limits.total_timeout):
                return await self._fetch(url, destination, request_id, etag, progress)
        except trio.TooSlowError as exc:
            limit = f"{self.limits.total_timeout:g} s"
            raise PassingDownloadError(f"{shown}: not complete after {limit}") from exc
        except DownloadError:
            with trio.CancelScope(shield=True):  # one file: as long as the disk takes
                await trio.to_thread.run_sync(_remove, destination)
            raise

    async def _fetch(
        self,
        url: str,
        destination: Path,
        request_id: str,
        etag: str | None,
        progress: Progress,
    ) -> Fetched | None:
        hop = first_hop(url)
        for _ in range(self.limits.redirects + 1):
            async with self._respond(hop, request_id, etag) as response:
                if etag is not None and response.status_code == HTTPStatus.NOT_MODIFIED:
                    return None
                if response.status_code not in REDIRECTS:
                    _check_status(response, hop)
                    return await self._save(response, destination, hop, progress)
                hop = next_hop(hop, response.headers.get("Location"))
        raise DownloadError(
            f"{public_url(url)}: expected at most {self.limits.redirects} redirects, found more"
        )

    @contextlib.asynccontextmanager
    async def _respond(
        self, hop: Hop, request_id: str, etag: str | None
    ) -> AsyncGenerator[httpx.Response]:
        """Send the request of a hop; its connection is closed at the end."""
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "smartmob-agent",
            "X-Request-Id": request_id,
        }
        if hop.authorization is not None:
            headers["Authorization"] = hop.authorization
        if etag is not None:
            headers["If-None-Match"] = etag
        with self._patience(hop), _explaining(hop):
            request = httpx.Request("GET", hop.url, headers=headers)
            response = await self.transport.handle_async_request(request)
        try:
            yield response
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await response.aclose()

    @contextlib.contextmanager
    def _patience(self, hop: Hop) -> Iterator[None]:
        """The time limit of one wait for the server."""
        limit = self.limits.idle_timeout
        try:
            with trio.fail_after(limit):
                yield
        except trio.TooSlowError as exc:
            raise PassingDownloadError(f"{hop.shown}: nothing came for {limit:g} s") from exc

    async def _save(
        self, response: httpx.Response, destination: Path, hop: Hop, progress: Progress
    ) -> Fetched:
        total = _content_length(response)
        async with (
            open_intake(
                destination,
                shown=hop.shown,
                limit_bytes=self.limits.archive_bytes,
                expected_bytes=total,
                gunzip=_content_decoder(response, hop),
            ) as intake,
            _open_body(response) as body,
        ):
            progress(0, total)
            while (chunk := await self._next(body, intake, hop)) is not None:
                await intake.take(chunk)
                progress(intake.received_bytes, total)
            await intake.finish()
        return Fetched(
            sha256=intake.sha256, size_bytes=intake.written_bytes, etag=_strong_etag(response)
        )

    async def _next(self, body: AsyncIterator[bytes], intake: Intake, hop: Hop) -> bytes | None:
        try:
            with self._patience(hop):
                return await anext(body, None)
        except httpx.HTTPError as exc:
            raise intake.cut_short() from exc


@contextlib.asynccontextmanager
async def _open_body(response: httpx.Response) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The pieces of a body as they come, nothing undone but the chunks of HTTP."""
    assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for mypy
    body = aiter(response.stream)
    try:
        yield body
    finally:
        # httpx stacks generators: closing the outer one leaves the inner ones to the garbage
        # collector.  Closed and read once more, each of them ends.
        with (
            trio.move_on_after(CLOSE_TIMEOUT, shield=True),
            contextlib.suppress(httpx.HTTPError),
        ):
            await response.aclose()
            async for _ in body:
                pass


@contextlib.contextmanager
def _explaining(hop: Hop) -> Iterator[None]:
    """Turn the errors of httpx into ours; nothing that a server says comes into a message."""
    try:
        yield
    except UNASKABLE as exc:
        raise DownloadError(f"{hop.shown}: cannot be asked for") from exc
    except httpx.RemoteProtocolError as exc:
        raise PassingDownloadError(f"{hop.shown}: expected an HTTP answer, found none") from exc
    except httpx.HTTPError as exc:
        reason = _reason(exc)
        raise PassingDownloadError(f"{hop.shown}: no connection: {reason}") from exc


def _reason(exc: BaseException) -> str:
    """What the operating system or TLS said, from the bottom of a chain of errors."""
    while True:
        inner = exc.exceptions[0] if isinstance(exc, BaseExceptionGroup) else exc.__cause__
        # httpcore keeps what it maps in the arguments, and cuts the chain of causes.
        inner = inner or next((arg for arg in exc.args if isinstance(arg, Exception)), None)
        if inner is None:
            break
        exc = inner
    text = exc.strerror if isinstance(exc, OSError) else str(exc)
    return re.sub(r"^Error connecting to .*: ", "", text or type(exc).__name__)


def _check_status(response: httpx.Response, hop: Hop) -> None:
    """Raise unless the body is what was asked for."""
    status = response.status_code
    if status in {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}:
        return
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    message = f"{hop.shown}: the answer is {status} {phrase}".rstrip()
    if status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise PassingDownloadError(message)
    raise DownloadError(message)


def _content_length(response: httpx.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isascii() and value.isdecimal() else None


def _strong_etag(response: httpx.Response) -> str | None:
    value = response.headers.get("ETag", "")
    return value if STRONG_ETAG.fullmatch(value) else None


def _content_decoder(response: httpx.Response, hop: Hop) -> Gunzip | None:
    """What undoes the encoding of the body: servers send some although we ask for none."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return None
    if encoding in {"gzip", "x-gzip"}:
        return Gunzip()
    raise DownloadError(
        f"{hop.shown}: expected no Content-Encoding or gzip, found {encoding[:20]!r}"
    )


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
