"""Downloads of source archives over HTTP: the only module that knows httpx.

The transport of httpx is used without its client: so there is no cookie jar that apps
would share, no proxy and password file from the environment, no decoding that inflates
without bound, and no log line with a whole URL.
"""

from __future__ import annotations

import contextlib
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import httpx
import trio

from smartmob_agent.config.settings import EgressRules, SourceLimits
from smartmob_agent.errors import DownloadError, TransientDownloadError
from smartmob_agent.source.download.body import BodyWriter, open_body_writer
from smartmob_agent.source.download.dialer import Dial, Dialer
from smartmob_agent.source.download.egress import EgressFilter, ForbiddenError
from smartmob_agent.source.download.httpcore_backend import open_pool, reason_of
from smartmob_agent.source.download.partial import PartialFile, PartialFiles
from smartmob_agent.source.download.redirects import RequestTarget, first_target, next_target
from smartmob_agent.source.download.response import ResponseHead
from smartmob_agent.source.download.resumes import Resumes
from smartmob_agent.source.download.seam import Fetched, Fetcher, Progress, ignore_progress
from smartmob_agent.source.download.urls import public_url

__all__ = ["Fetched", "Fetcher", "HttpFetcher", "Progress", "make_fetcher"]

# What is wrong with the URL itself; a host name may be too long to be looked up.
UNASKABLE = (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError)

CLOSE_TIMEOUT = 1.0
"""Seconds to close a connection; on the way out of a download that was cancelled, too."""


@attrs.frozen(kw_only=True)
class _Job:
    """The arguments of `Fetcher.fetch`."""

    url: str = attrs.field(repr=False)
    request_id: str
    etag: str | None
    progress: Progress


def make_fetcher(
    limits: SourceLimits, network: EgressRules | None = None, *, dial: Dial | None = None
) -> HttpFetcher:
    """Make the fetcher of an agent.

    Certificates are checked against those of certifi, or what `SSL_CERT_FILE` or
    `SSL_CERT_DIR` names.

    dial: makes the connections; by default to where `network` allows.
    """
    context = httpx.create_ssl_context()
    dialer = Dialer(policy=EgressFilter.of(network or EgressRules()))
    connect = partial(_Transport, dial or dialer.dial, context)
    return HttpFetcher(limits=limits, transport=connect)


class _Transport(httpx.AsyncHTTPTransport):
    """The transport of httpx upon connections of ours, for which it has no option."""

    def __init__(self, dial: Dial, context: ssl.SSLContext) -> None:
        self._pool = open_pool(dial, context)


@attrs.define(eq=False, kw_only=True)
class HttpFetcher:
    """The real `Fetcher`.

    transport: makes one for each request.
    random: as `random.random`; it spreads the tries of those whose server went away.
    """

    limits: SourceLimits
    transport: Callable[[], httpx.AsyncBaseTransport]
    random: Callable[[], float] = random.random
    _parts: PartialFiles = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._parts = PartialFiles(min_free_bytes=self.limits.min_free_bytes)

    async def fetch(
        self,
        url: str,
        destination: Path,
        *,
        request_id: str,
        etag: str | None = None,
        progress: Progress = ignore_progress,
    ) -> Fetched | None:
        """As `Fetcher.fetch`; after a `DownloadError` or an error of the disk there is no file."""
        shown = public_url(url)
        job = _Job(url=url, request_id=request_id, etag=etag, progress=progress)
        part = self._parts.take(url, destination)
        resumes = Resumes(limit=self.limits.resumes, random=self.random)
        with self._parts.keep(url, part):
            try:
                with trio.fail_after(self.limits.total_timeout):
                    return await resumes.run(part, partial(self._try, job))
            except trio.TooSlowError as exc:
                limit = f"{self.limits.total_timeout:g} s"
                raise TransientDownloadError(f"{shown}: not complete after {limit}") from exc
            except (DownloadError, OSError) as exc:
                with trio.CancelScope(shield=True):  # one file: as long as the disk takes
                    await trio.to_thread.run_sync(part.remove)
                if isinstance(exc, DownloadError):
                    raise
                raise TransientDownloadError(f"{shown}: cannot be written: {exc.strerror}") from exc

    async def _try(self, job: _Job, part: PartialFile) -> Fetched | None:
        hop = first_target(job.url)
        for _ in range(self.limits.redirects + 1):
            async with self._respond(hop, job, part) as response:
                status, headers = response.status_code, response.headers
                answer = ResponseHead(status=status, headers=headers, shown=hop.shown)
                if not answer.is_redirect:
                    return await self._take(response, answer, job, part)
                hop = next_target(hop, response.headers.get("Location"))
        found = f"expected at most {self.limits.redirects} redirects, found more"
        raise DownloadError(f"{public_url(job.url)}: {found}")

    async def _take(
        self, response: httpx.Response, answer: ResponseHead, job: _Job, part: PartialFile
    ) -> Fetched | None:
        """Do what an answer says that is no redirect."""
        if answer.is_not_modified and job.etag is not None and not part.size_bytes:
            return None
        if not (answer.is_part and part.size_bytes):
            answer.check_status()
            part.begin(answer)
        elif not part.go_on(answer):
            part.forget()
            raise TransientDownloadError(f"{answer.shown}: expected the rest, found other bytes")
        await self._save(response, answer, job, part)
        return Fetched(sha256=part.sha256, size_bytes=part.size_bytes, etag=part.etag)

    async def _next(self, body: AsyncIterator[bytes], intake: BodyWriter) -> bytes | None:
        await trio.lowlevel.checkpoint()  # many small pieces may have come at once
        try:
            with self._patience(intake.shown):
                return await anext(body, None)
        except httpx.HTTPError as exc:
            raise intake.cut_short() from exc

    @contextlib.contextmanager
    def _patience(self, shown: str) -> Iterator[None]:
        """The time limit of one wait for the server."""
        limit = self.limits.idle_timeout
        try:
            with trio.fail_after(limit):
                yield
        except trio.TooSlowError as exc:
            raise TransientDownloadError(f"{shown}: nothing came for {limit:g} s") from exc

    @contextlib.asynccontextmanager
    async def _respond(
        self, hop: RequestTarget, job: _Job, part: PartialFile
    ) -> AsyncGenerator[httpx.Response]:
        """Send the request of a hop; its connection is closed at the end."""
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "smartmob-agent",
            "X-Request-Id": job.request_id,
            **part.headers(hop.shown),
        }
        if hop.authorization is not None:
            headers["Authorization"] = hop.authorization
        if job.etag is not None and not part.size_bytes:
            headers["If-None-Match"] = job.etag
        transport = self.transport()
        try:
            with self._patience(hop.shown), _explaining(hop):
                request = httpx.Request("GET", hop.url, headers=headers)
                response = await transport.handle_async_request(request)
            yield response
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await transport.aclose()

    async def _save(
        self, response: httpx.Response, answer: ResponseHead, job: _Job, part: PartialFile
    ) -> None:
        async with (
            open_body_writer(part, answer, limit_bytes=self.limits.archive_bytes) as intake,
            _open_body(response) as body,
        ):
            error: TransientDownloadError | None = None
            job.progress(intake.received_bytes, intake.expected_bytes)
            try:
                while (chunk := await self._next(body, intake)) is not None:
                    await intake.take(chunk)
                    job.progress(intake.received_bytes, intake.expected_bytes)
            except TransientDownloadError as exc:
                error = exc
            await intake.flush()
            intake.check_complete(error)


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
def _explaining(hop: RequestTarget) -> Iterator[None]:
    """Turn the errors of httpx into ours; nothing that a server says comes into a message."""
    try:
        yield
    except ForbiddenError as exc:
        raise DownloadError(f"{hop.shown}: must not be asked: {exc}") from exc
    except UNASKABLE as exc:
        raise DownloadError(f"{hop.shown}: cannot be asked for") from exc
    except httpx.RemoteProtocolError as exc:
        raise TransientDownloadError(f"{hop.shown}: expected an HTTP answer, found none") from exc
    except httpx.HTTPError as exc:
        reason = reason_of(exc)
        raise TransientDownloadError(f"{hop.shown}: no connection: {reason}") from exc
