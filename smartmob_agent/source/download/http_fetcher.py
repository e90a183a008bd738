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

import attrs
import httpx
import trio

from smartmob_agent.config.settings import EgressRules, SourceLimits
from smartmob_agent.errors import DownloadError, StartError, TransientDownloadError
from smartmob_agent.source.download.body import BodyWriter, open_body_writer
from smartmob_agent.source.download.dialer import Dial, Dialer
from smartmob_agent.source.download.egress import EgressFilter, ForbiddenError
from smartmob_agent.source.download.httpcore_backend import open_pool, reason_of
from smartmob_agent.source.download.partial import (
    Retries,
    complete,
    range_headers,
    remove_file,
    restart,
    resume,
)
from smartmob_agent.source.download.redirects import RequestTarget, first_target, next_target
from smartmob_agent.source.download.response import ResponseHead
from smartmob_agent.source.download.seam import Fetched, FetchRequest
from smartmob_agent.source.download.urls import public_url

__all__ = ["HttpFetcher", "make_fetcher"]

# Errors of the URL itself; a host name may be too long to be looked up.
INVALID_URL = (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol, UnicodeError)

CLOSE_TIMEOUT = 1.0
"""Seconds to close a connection; on the way out of a download that was cancelled, too."""


def make_fetcher(
    limits: SourceLimits, network: EgressRules | None = None, *, dial: Dial | None = None
) -> HttpFetcher:
    """Make the fetcher of an agent.

    Certificates are checked against those of certifi, or those that `SSL_CERT_FILE` or
    `SSL_CERT_DIR` names.

    dial: makes the connections; by default to where `network` allows.

    Raises `StartError` when these cannot be read.
    """
    try:
        context = httpx.create_ssl_context()
    except OSError as exc:  # ssl.SSLError is one, too
        told = exc.strerror or exc
        raise StartError(f"SSL_CERT_FILE, SSL_CERT_DIR: cannot read certificates: {told}") from exc
    dialer = Dialer(policy=EgressFilter.of(network or EgressRules()))
    connect = partial(_Transport, dial or dialer.dial, context)
    return HttpFetcher(limits=limits, transport=connect)


class _Transport(httpx.AsyncHTTPTransport):
    """The transport of httpx on connections that we make, for which httpx has no option."""

    def __init__(self, dial: Dial, context: ssl.SSLContext) -> None:
        self._pool = open_pool(dial, context)


@attrs.define(eq=False, kw_only=True)
class HttpFetcher:
    """The real `Fetcher`.

    transport: makes one for each request.
    random: as `random.random`; it spreads the tries of many agents after a server's outage.
    """

    limits: SourceLimits
    transport: Callable[[], httpx.AsyncBaseTransport]
    random: Callable[[], float] = random.random

    async def fetch(self, request: FetchRequest) -> Fetched | None:
        """See `Fetcher.fetch`; after a `DownloadError` or an error of the disk there is no file."""
        shown, part = public_url(request.url), request.partial
        if not part.can_resume:
            part.reset()
        retries = Retries(limit=self.limits.resumes, random=self.random)
        try:
            with trio.fail_after(self.limits.total_timeout):
                return await retries.run(part, partial(self._try, request))
        except trio.TooSlowError as exc:
            limit = f"{self.limits.total_timeout:g} s"
            raise TransientDownloadError(f"{shown}: not complete after {limit}") from exc
        except (DownloadError, OSError) as exc:
            with trio.CancelScope(shield=True):  # one file: as long as the disk takes
                await trio.to_thread.run_sync(remove_file, part)
            if isinstance(exc, DownloadError):
                raise
            raise TransientDownloadError(f"{shown}: cannot be written: {exc.strerror}") from exc

    async def _try(self, request: FetchRequest) -> Fetched | None:
        target = first_target(request.url)
        for _ in range(self.limits.redirects + 1):
            async with self._respond(target, request) as response:
                head = ResponseHead(
                    status=response.status_code, headers=response.headers, shown=target.shown
                )
                if not head.is_redirect:
                    return await self._take(response, head, request)
                target = next_target(target, response.headers.get("Location"))
        found = f"expected at most {self.limits.redirects} redirects, found more"
        raise DownloadError(f"{public_url(request.url)}: {found}")

    async def _take(
        self, response: httpx.Response, head: ResponseHead, request: FetchRequest
    ) -> Fetched | None:
        """Handle a response that is no redirect."""
        part = request.partial
        if head.is_not_modified and request.etag is not None and not part.size_bytes:
            return None
        if not (head.is_part and part.size_bytes):
            head.check_status()
            restart(part, head)
        elif not resume(part, head):
            part.reset()
            raise TransientDownloadError(f"{head.shown}: expected the rest, found other bytes")
        return await self._save(response, head, request)

    async def _next(self, body: AsyncIterator[bytes], writer: BodyWriter) -> bytes | None:
        await trio.lowlevel.checkpoint()  # many small pieces may have come at once
        try:
            with self._idle_limit(writer.shown):
                return await anext(body, None)
        except httpx.HTTPError as exc:
            raise writer.cut_short() from exc

    @contextlib.contextmanager
    def _idle_limit(self, shown: str) -> Iterator[None]:
        """The time limit of one wait for the server."""
        limit = self.limits.idle_timeout
        try:
            with trio.fail_after(limit):
                yield
        except trio.TooSlowError as exc:
            raise TransientDownloadError(f"{shown}: nothing came for {limit:g} s") from exc

    @contextlib.asynccontextmanager
    async def _respond(
        self, target: RequestTarget, request: FetchRequest
    ) -> AsyncGenerator[httpx.Response]:
        """Request a target; its connection is closed at the end."""
        part = request.partial
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "smartmob-agent",
            "X-Request-Id": request.request_id,
            **range_headers(part, target.shown),
        }
        if target.authorization is not None:
            headers["Authorization"] = target.authorization
        if request.etag is not None and not part.size_bytes:
            headers["If-None-Match"] = request.etag
        transport = self.transport()
        try:
            with self._idle_limit(target.shown), _translated_errors(target):
                response = await transport.handle_async_request(
                    httpx.Request("GET", target.url, headers=headers)
                )
            yield response
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await transport.aclose()

    async def _save(
        self, response: httpx.Response, head: ResponseHead, request: FetchRequest
    ) -> Fetched:
        async with (
            open_body_writer(request.partial, head, self.limits) as writer,
            _open_body(response) as body,
        ):
            error: TransientDownloadError | None = None
            request.progress(writer.received_bytes, writer.expected_bytes)
            try:
                while (chunk := await self._next(body, writer)) is not None:
                    await writer.take(chunk)
                    request.progress(writer.received_bytes, writer.expected_bytes)
            except TransientDownloadError as exc:
                error = exc
            await writer.flush()
            writer.check_complete(error)
            return complete(request.partial, ends_by_close=writer.ends_by_close)


@contextlib.asynccontextmanager
async def _open_body(response: httpx.Response) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The pieces of a body as they arrive, decoded of HTTP's chunks but of nothing else."""
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
def _translated_errors(target: RequestTarget) -> Iterator[None]:
    """Turn the errors of httpx into ours; no message quotes the server."""
    try:
        yield
    except ForbiddenError as exc:
        raise DownloadError(f"{target.shown}: must not be asked: {exc}") from exc
    except INVALID_URL as exc:
        raise DownloadError(f"{target.shown}: cannot be asked for") from exc
    except httpx.RemoteProtocolError as exc:
        raise TransientDownloadError(
            f"{target.shown}: expected an HTTP answer, found none"
        ) from exc
    except httpx.HTTPError as exc:
        reason = reason_of(exc)
        raise TransientDownloadError(f"{target.shown}: no connection: {reason}") from exc
