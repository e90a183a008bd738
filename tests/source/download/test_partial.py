"""Downloads that are cut short and go on."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import TransientDownloadError
from smartmob_agent.source.download.http_fetcher import HttpFetcher, make_fetcher
from smartmob_agent.source.download.partial import STEADY_BYTES, Retries
from smartmob_agent.source.download.seam import Fetched, FetchRequest, PartialFile
from tests.source.servers import Server, open_memory_server, respond

CONTENT = b"half of it, and the rest"
ETAG = 'ETag: "v1"'
CHUNKED = "Transfer-Encoding: chunked"
LENGTH = f"Content-Length: {len(CONTENT)}"
CUT = respond(CONTENT[:4], ETAG, LENGTH)
WHOLE = respond(CONTENT, ETAG)


def rest(start: int, *headers: str, content: bytes = CONTENT) -> bytes:
    """The rest of `content`, as a server sends it that is asked for it."""
    size = len(content)
    content_range = f"Content-Range: bytes {start}-{size - 1}/{size}"
    return respond(content[start:], content_range, *headers, status="206 Partial Content")


@attrs.define(eq=False)
class Scene:
    """A fetcher, and a server that gives one answer after the other.

    partial: the file for the next request.
    """

    server: Server
    fetcher: HttpFetcher
    partial: PartialFile
    progress: list[tuple[int, int | None]] = attrs.field(factory=list)

    async def fetch(self, url: str = "http://h/a", etag: str | None = None) -> Fetched | None:
        def tell(received: int, total: int | None) -> None:
            self.progress.append((received, total))

        request = FetchRequest(
            url=url, partial=self.partial, request_id="id", etag=etag, progress=tell
        )
        return await self.fetcher.fetch(request)

    @property
    def path(self) -> Path:
        return self.partial.path

    def asked(self, *names: str) -> list[list[str]]:
        """For each request its path and the values of these headers, if it has them."""
        found = []
        for request in self.server.requests:
            first, *lines = request.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            values = [headers[name] for name in names if name in headers]
            found.append([first.split()[1], *values])
        return found


@asynccontextmanager
async def open_scene(
    path: Path, *answers: bytes, limits: SourceLimits | None = None
) -> AsyncGenerator[Scene]:
    left = list(answers)

    async def handle(stream: trio.abc.Stream, _request: bytes) -> None:
        await stream.send_all(left.pop(0))

    async with open_memory_server(handle) as (server, dial):
        fetcher = make_fetcher(limits or SourceLimits(), dial=dial)
        fetcher.random = float
        yield Scene(server, fetcher, PartialFile(path=path))


def fetched(content: bytes = CONTENT, etag: str | None = '"v1"') -> Fetched:
    digest = hashlib.sha256(content).hexdigest()
    return Fetched(sha256=digest, size_bytes=len(content), etag=etag)


async def test_only_the_rest_is_asked_for(tmp_path: Path) -> None:
    """If it is still the same archive; the digest is that of the whole file."""
    answers = [CUT, rest(4, ETAG, LENGTH.replace("24", "20"))[:-10], rest(14)]
    async with open_scene(tmp_path / "a", *answers) as scene:
        assert await scene.fetch("http://u:p@h/a?q") == fetched()
        assert scene.asked("Range", "If-Range", "Authorization") == [
            ["/a?q", "Basic dTpw"],
            ["/a?q", "bytes=4-", '"v1"', "Basic dTpw"],
            ["/a?q", "bytes=14-", '"v1"', "Basic dTpw"],
        ]
    assert scene.path.read_bytes() == CONTENT
    received = [received for received, _total in scene.progress]
    assert (received[0], received[-1]) == (0, len(CONTENT))
    assert received == sorted(received)
    assert {total for _received, total in scene.progress} == {len(CONTENT)}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        # The server takes no notice of the range.
        ([CUT, WHOLE], fetched()),
        # It has another archive now, longer or shorter than what is there.
        ([CUT, respond(CONTENT * 2, 'ETag: "v2"')], fetched(CONTENT * 2, '"v2"')),
        ([CUT, respond(b"new", 'ETag: W/"v2"')], fetched(b"new", None)),
        # It sends what was not asked for, or has nothing to send; then it is asked for all.
        ([CUT, rest(5), WHOLE], fetched()),
        ([CUT, rest(4, content=CONTENT + b"!"), WHOLE], fetched()),
        ([CUT, rest(4, 'ETag: "v2"'), WHOLE], fetched()),
        ([CUT, rest(4, "Content-Encoding: gzip"), WHOLE], fetched()),
        ([CUT, respond(status="416 No"), WHOLE], fetched()),
        # It does not answer for a while.
        ([CUT, b"", respond(status="503 No"), rest(4)], fetched()),
        # It did not say how much there is before.
        ([respond(b"4\r\nhalf\r\n", ETAG, "Transfer-Encoding: chunked"), rest(4)], fetched()),
    ],
)
async def test_what_comes_instead_of_the_rest_does_not_matter(
    answers: Sequence[bytes], expected: Fetched, tmp_path: Path
) -> None:
    """In the end there is one whole archive, and not a mixture of two."""
    async with open_scene(tmp_path / "a", *answers) as scene:
        assert await scene.fetch() == expected
        assert len(scene.server.requests) == len(answers)
    digest = hashlib.sha256(scene.path.read_bytes()).hexdigest()
    assert digest == expected.sha256


async def test_a_part_without_a_size_in_the_end_is_no_rest(tmp_path: Path) -> None:
    """Nobody knows then whether it is all."""
    first = respond(b"4\r\nhalf\r\n", ETAG, "Transfer-Encoding: chunked")
    unsure = rest(4).replace(b"/24", b"/*")
    async with open_scene(tmp_path / "a", first, unsure, WHOLE) as scene:
        assert await scene.fetch() == fetched()
        assert [bool(range_) for _path, *range_ in scene.asked("Range")] == [False, True, False]


@pytest.mark.parametrize(
    "answer",
    [
        respond(CONTENT[:4], LENGTH),
        respond(CONTENT[:4], "ETag: W/" + ETAG[6:], LENGTH),
        respond(CONTENT[:4], "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT", LENGTH),
        respond(b"", ETAG, LENGTH),
        respond(
            gzip.compress(os.urandom(99))[:50], ETAG, "Content-Encoding: gzip", "Content-Length: 99"
        ),
        respond(status="503 No"),
        b"",
    ],
)
async def test_without_a_strong_validator_and_a_part_nothing_goes_on(
    answer: bytes, tmp_path: Path
) -> None:
    """The process tries again, after its own delay."""
    async with open_scene(tmp_path / "a", answer) as scene:
        with pytest.raises(TransientDownloadError):
            await scene.fetch()
        assert len(scene.server.requests) == 1


async def test_tries_that_bring_next_to_nothing_are_counted(tmp_path: Path) -> None:
    """Then the process shows that it is in trouble."""
    async with open_scene(
        tmp_path / "a", CUT, b"", b"", WHOLE, limits=SourceLimits(resumes=2)
    ) as scene:
        with pytest.raises(TransientDownloadError, match="expected an HTTP answer, found none"):
            await scene.fetch()
        assert len(scene.server.requests) == 3


async def test_a_server_that_says_when_to_come_again_is_left_alone(tmp_path: Path) -> None:
    """Until then; who waits longer is the caller, and what there is stays for it."""
    busy = respond(b"", "Retry-After: 30", status="503 No")
    async with open_scene(tmp_path / "a", CUT, busy, rest(4)) as scene:
        with pytest.raises(TransientDownloadError) as info:
            await scene.fetch()
        assert (info.value.retry_after, len(scene.server.requests)) == (30.0, 2)
        assert await scene.fetch() == fetched()
        assert scene.asked("Range")[-1][1:] == ["bytes=4-"]


async def test_a_later_call_goes_on(tmp_path: Path) -> None:
    """The process has backed off meanwhile; only the bytes of the same URL in the file count."""
    async with open_scene(
        tmp_path / "a", CUT, rest(4), CUT, WHOLE, WHOLE, limits=SourceLimits(resumes=0)
    ) as scene:
        with pytest.raises(TransientDownloadError):
            await scene.fetch()
        assert await scene.fetch(etag='"v0"') == fetched()
        with pytest.raises(TransientDownloadError):
            await scene.fetch()
        assert await scene.fetch("http://h/b") == fetched()
        scene.partial = PartialFile(path=tmp_path / "b")
        assert await scene.fetch() == fetched()
        ranges = scene.asked("Range", "If-None-Match")
        assert ranges == [["/a"], ["/a", "bytes=4-"], ["/a"], ["/b"], ["/a"]]


async def test_a_download_that_took_too_long_goes_on_in_a_later_call(
    mock_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """So the slowest line gets there some day."""
    jumps = [SourceLimits().total_timeout]

    def random() -> float:
        mock_clock.jump(jumps.pop())
        return 1.0

    async with open_scene(tmp_path / "a", CUT, rest(4)) as scene:
        scene.fetcher.random = random
        with pytest.raises(TransientDownloadError, match="not complete after 1800 s"):
            await scene.fetch()
        assert await scene.fetch() == fetched()


async def test_what_is_known_of_a_file_is_in_the_request_alone(tmp_path: Path) -> None:
    """A fetcher remembers no path: the next file may have the same one."""
    async with open_scene(tmp_path / "a", CUT, WHOLE, limits=SourceLimits(resumes=0)) as scene:
        with pytest.raises(TransientDownloadError):
            await scene.fetch()
        assert (scene.partial.size_bytes, scene.partial.whole_bytes) == (4, len(CONTENT))
        assert scene.partial.digest.digest() == hashlib.sha256(CONTENT[:4]).digest()
        scene.partial = PartialFile(path=scene.path)
        assert await scene.fetch() == fetched()
        assert scene.asked("Range") == [["/a"], ["/a"]]


async def test_a_file_without_a_strong_etag_counts_for_nothing_in_a_later_call(
    tmp_path: Path,
) -> None:
    """The archive that the caller has is asked for again."""
    async with open_scene(
        tmp_path / "a", respond(CONTENT[:4], LENGTH), respond(status="304 Not Modified")
    ) as scene:
        with pytest.raises(TransientDownloadError):
            await scene.fetch(etag='"v0"')
        assert scene.partial.size_bytes == 4
        assert await scene.fetch(etag='"v0"') is None
        assert scene.asked("Range", "If-None-Match") == [["/a", '"v0"'], ["/a", '"v0"']]


async def test_a_large_archive_may_be_cut_many_times(tmp_path: Path) -> None:
    """Who brings much has as many tries as ever."""
    content = os.urandom(4 * STEADY_BYTES + 1)
    cuts = [respond(content, ETAG)[: STEADY_BYTES + 100]]
    size = len(cuts[0].partition(b"\r\n\r\n")[2])
    for n in range(1, 4):
        answer = rest(n * size, content=content)
        head, _, body = answer.partition(b"\r\n\r\n")
        cuts.append(head + b"\r\n\r\n" + body[:size])
    async with open_scene(
        tmp_path / "a", *cuts, rest(4 * size, content=content), limits=SourceLimits(resumes=1)
    ) as scene:
        assert await scene.fetch() == fetched(content)


async def test_the_rest_is_asked_for_where_the_beginning_came_from(tmp_path: Path) -> None:
    """A tag says nothing about what another server has; a query may be that of a signature."""

    def away(to: str) -> bytes:
        return respond(b"", f"Location: {to}", status="302 Found")

    answers = [away("http://b/x?1"), CUT, away("http://b/x?2"), rest(4)[:-1], away("http://c/x")]
    async with open_scene(tmp_path / "a", *answers, WHOLE) as scene:
        assert await scene.fetch() == fetched()
        assert scene.asked("Range") == [
            ["/a"],
            ["/x?1"],
            ["/a"],
            ["/x?2", "bytes=4-"],
            ["/a"],
            ["/x"],
        ]


async def test_what_the_caller_holds_counts_until_something_else_comes(tmp_path: Path) -> None:
    """Afterwards the file is no longer what it was."""
    async with open_scene(tmp_path / "a", CUT, rest(4)) as scene:
        assert await scene.fetch(etag='"v0"') == fetched()
        assert scene.asked("If-None-Match") == [["/a", '"v0"'], ["/a"]]


async def test_tries_are_spread(mock_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """After up to 1 s, and up to 2 s."""
    delays, delayed = [0.5, 1.0], [trio.Event(), trio.Event()]

    def random() -> float:
        delayed[2 - len(delays)].set()
        return 0.5

    answers = [CUT, b"", rest(4)]
    async with open_scene(tmp_path / "a", *answers) as scene, trio.open_nursery() as nursery:
        scene.fetcher.random = random
        nursery.start_soon(scene.fetch)
        for event in delayed:
            await event.wait()
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(delays.pop(0))
    assert scene.path.read_bytes() == CONTENT


def test_the_delays_grow_until_it_is_time_to_give_up() -> None:
    """What brings much begins anew."""
    retries = Retries(limit=3, random=lambda: 1.0)
    delays = [retries.delay(received) for received in (0, 10, STEADY_BYTES, 0, 0, 0)]
    assert delays == [1, 2, 1, 2, 4, None]


@pytest.mark.parametrize("size", [None, 3])
async def test_a_file_that_another_program_changed_is_downloaded_again(
    size: int | None, tmp_path: Path
) -> None:
    """A person may have tidied up."""
    path = tmp_path / "a"

    def tidy_up() -> float:
        if size is None:
            path.unlink()
        else:
            os.truncate(path, size)
        return 0.0

    async with open_scene(path, CUT, rest(4), WHOLE) as scene:
        scene.fetcher.random = tidy_up
        with pytest.raises(TransientDownloadError, match=r"cannot be written: (No such|expected)"):
            await scene.fetch()
        assert await scene.fetch() == fetched()


async def test_a_full_disk_is_not_tried_again_at_once(tmp_path: Path) -> None:
    """It takes more than a moment."""
    limits = SourceLimits(min_free_bytes=0)
    full = tmp_path / "a"
    full.symlink_to("/dev/full")  # The link is what is removed.
    async with open_scene(full, WHOLE, limits=limits) as scene:
        with pytest.raises(TransientDownloadError, match="No space left on device"):
            await scene.fetch()


@pytest.mark.parametrize(
    ("answer", "found"),
    [(WHOLE, "beside 24"), (respond(b"3\r\nabc\r\n0\r\n\r\n", CHUNKED), "beside 3")],
)
async def test_a_part_of_the_disk_stays_free(answer: bytes, found: str, tmp_path: Path) -> None:
    """Before the archive comes, if it says how large it is; nothing of it stays."""
    limits = SourceLimits(min_free_bytes=2**60)
    async with open_scene(tmp_path / "a", answer, limits=limits) as scene:
        with pytest.raises(TransientDownloadError, match=f"cannot be written: expected .* {found}"):
            await scene.fetch()
    assert not scene.path.exists()
