"""What every `Fetcher` holds to, the real one and the fake."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from enum import Enum
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, TransientDownloadError
from smartmob_agent.source.download.http_fetcher import make_fetcher
from smartmob_agent.source.download.seam import Fetched, Fetcher
from smartmob_agent.testing import FakeFetcher
from tests.source.fetching import make_request
from tests.source.servers import open_server, respond


class Answer(Enum):
    """What the server of the archive does."""

    ARCHIVE = "an archive"
    SAME = "304"
    MISSING = "404"
    BUSY = "503"
    CUT = "the first half of an archive, and all that is asked for after that"
    NONE = "nothing, for ever"


Open = Callable[[Answer], AbstractAsyncContextManager[tuple[Fetcher, str]]]

CONTENT = b"archive"
ETAG = '"v1"'

RESPONSES = {
    Answer.ARCHIVE: respond(CONTENT, f"ETag: {ETAG}"),
    Answer.SAME: respond(status="304 Not Modified"),
    Answer.MISSING: respond(status="404 Not Found"),
    Answer.BUSY: respond(status="503 Busy"),
    Answer.CUT: respond(CONTENT[:3], f"ETag: {ETAG}", f"Content-Length: {len(CONTENT)}"),
}
REST = respond(
    CONTENT[3:],
    f"ETag: {ETAG}",
    f"Content-Range: bytes 3-{len(CONTENT) - 1}/{len(CONTENT)}",
    status="206 Partial Content",
)


@contextlib.asynccontextmanager
async def open_real(answer: Answer) -> AsyncGenerator[tuple[Fetcher, str]]:
    async def handle(stream: trio.abc.Stream, request: bytes) -> None:
        if answer is Answer.NONE:
            await stream.receive_some()
        elif b"\r\nRange: bytes=3-\r\n" in request:
            await stream.send_all(REST)
        else:
            await stream.send_all(RESPONSES[answer])

    async with open_server(handle) as server:
        yield make_fetcher(SourceLimits(resumes=0)), server.url


@contextlib.asynccontextmanager
async def open_fake(answer: Answer) -> AsyncGenerator[tuple[Fetcher, str]]:
    errors: dict[Answer, Exception] = {
        Answer.MISSING: DownloadError("404"),
        Answer.BUSY: TransientDownloadError("503"),
    }
    delay = 1e9 if answer is Answer.NONE else 0.0
    cut = [TransientDownloadError("cut short")] if answer is Answer.CUT else []
    yield (
        FakeFetcher(
            content=CONTENT,
            etag=ETAG,
            errors=[errors[answer]] * 9 if answer in errors else cut,
            delay=delay,
        ),
        "http://h",
    )


every_fetcher = pytest.mark.parametrize("open_one", [open_real, open_fake], ids=["real", "fake"])


@every_fetcher
async def test_an_archive_is_downloaded(open_one: Open, tmp_path: Path) -> None:
    """As often as it is asked for, also at once; the digest is that of the file."""

    async def fetch(path: Path) -> None:
        fetched.append(await fetcher.fetch(make_request(url, path)))

    fetched: list[Fetched | None] = []
    async with open_one(Answer.ARCHIVE) as (fetcher, url), trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(fetch, tmp_path / f"{n}")
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert fetched == [Fetched(sha256=digest, size_bytes=len(CONTENT), etag=ETAG)] * 5
    assert [(tmp_path / f"{n}").read_bytes() for n in range(5)] == [CONTENT] * 5


@every_fetcher
async def test_what_the_caller_holds_is_not_downloaded(open_one: Open, tmp_path: Path) -> None:
    """The server says that it has no other one."""
    path = tmp_path / "archive"
    async with open_one(Answer.SAME) as (fetcher, url):
        assert await fetcher.fetch(make_request(url, path, etag=ETAG)) is None
    assert not path.exists()


@every_fetcher
async def test_progress_is_told(open_one: Open, tmp_path: Path) -> None:
    """From nothing to everything."""
    told: list[tuple[int, int | None]] = []

    def tell(received: int, total: int | None) -> None:
        told.append((received, total))

    async with open_one(Answer.ARCHIVE) as (fetcher, url):
        await fetcher.fetch(make_request(url, tmp_path / "archive", progress=tell))
    assert (told[0], told[-1]) == ((0, len(CONTENT)), (len(CONTENT), len(CONTENT)))


@every_fetcher
@pytest.mark.parametrize(
    ("answer", "error"), [(Answer.MISSING, DownloadError), (Answer.BUSY, TransientDownloadError)]
)
async def test_the_kind_of_the_error_says_whether_to_try_again(
    open_one: Open, answer: Answer, error: type[Exception], tmp_path: Path
) -> None:
    """And the fetcher goes on working."""
    async with open_one(answer) as (fetcher, url):
        for _ in range(2):
            with pytest.raises(error):
                await fetcher.fetch(make_request(url, tmp_path / "archive"))


@every_fetcher
async def test_a_request_with_the_same_partial_completes_it(open_one: Open, tmp_path: Path) -> None:
    """After a transient error, whether the fetcher resumes or starts with the first byte."""
    async with open_one(Answer.CUT) as (fetcher, url):
        request = make_request(url, tmp_path / "archive")
        with pytest.raises(TransientDownloadError):
            await fetcher.fetch(request)
        digest = hashlib.sha256(CONTENT).hexdigest()
        expected = Fetched(sha256=digest, size_bytes=len(CONTENT), etag=ETAG)
        assert await fetcher.fetch(request) == expected
    assert request.partial.path.read_bytes() == CONTENT


@every_fetcher
async def test_a_cancelled_download_ends_at_once(open_one: Open, tmp_path: Path) -> None:
    """Wherever it waits, and without an error."""
    async with open_one(Answer.NONE) as (fetcher, url):
        fetch = partial(fetcher.fetch, make_request(url, tmp_path / "archive"))
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fetch)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()


@every_fetcher
async def test_a_download_that_is_cancelled_before_does_not_begin(
    open_one: Open, tmp_path: Path
) -> None:
    """It is a checkpoint."""
    async with open_one(Answer.ARCHIVE) as (fetcher, url):
        with trio.CancelScope() as scope:
            scope.cancel()
            await fetcher.fetch(make_request(url, tmp_path / "archive"))
        assert scope.cancelled_caught
