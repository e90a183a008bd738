"""Downloads: without sockets on the virtual clock, and from real servers on loopback."""

from __future__ import annotations

import gzip
import os
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, StartError, TransientDownloadError
from smartmob_agent.source.download.http_fetcher import HttpFetcher, make_fetcher
from tests.source.fetching import make_request
from tests.source.servers import Body, open_server, respond

LIMITS = SourceLimits(archive_bytes=100_000, redirects=2, idle_timeout=5.0)


async def fetch(answer: httpx.Response | Exception, path: Path, url: str = "http://h/a?x") -> None:
    """Fetch what a transport without sockets answers."""

    def handler(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    fetcher = HttpFetcher(limits=LIMITS, transport=lambda: httpx.MockTransport(handler))
    await fetcher.fetch(make_request(url, path))


async def test_the_idle_timeout_is_for_each_wait(
    mock_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """A body that pauses too long is given up exactly then."""
    pauses = iter([4.5, 4.5, 4.5, 5.0])

    async def pause() -> None:
        mock_clock.jump(next(pauses))
        await trio.lowlevel.checkpoint()

    body = Body([b"x"] * 5, pause)
    with pytest.raises(TransientDownloadError) as info:
        await fetch(httpx.Response(200, stream=body), tmp_path / "archive")
    assert str(info.value) == "http://h/a: nothing came for 5 s"
    assert trio.current_time() == 18.5
    assert body.closed


async def test_the_idle_timeout_is_also_for_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A server that never answers is given up exactly then."""

    async def handler(request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    fetcher = HttpFetcher(limits=LIMITS, transport=lambda: httpx.MockTransport(handler))
    with pytest.raises(TransientDownloadError, match="nothing came for 5 s"):
        await fetcher.fetch(make_request("http://h/", Path(os.devnull)))
    assert trio.current_time() == 5.0


async def test_a_trickle_ends_at_the_total_timeout(
    mock_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """However alive a connection looks, the whole has its deadline."""

    async def pause() -> None:
        mock_clock.jump(4.0)
        await trio.lowlevel.checkpoint()

    body = Body([b"x"] * 1000, pause)
    with pytest.raises(TransientDownloadError) as info:
        await fetch(httpx.Response(200, stream=body), tmp_path / "archive")
    assert str(info.value) == "http://h/a: not complete after 1800 s"
    assert trio.current_time() == 1800.0
    assert body.closed


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
async def test_a_transient_status_may_be_retried(status: int, tmp_path: Path) -> None:
    """What the server itself calls a matter of time."""
    with pytest.raises(TransientDownloadError, match=f"^http://h/a: the answer is {status}"):
        await fetch(httpx.Response(status), tmp_path / "archive")


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 400, 401, 403, 404, 410, 451, 499])
async def test_another_status_is_final(status: int, tmp_path: Path) -> None:
    """What will be the same next time."""
    with pytest.raises(DownloadError, match=f"^http://h/a: the answer is {status}"):
        await fetch(httpx.Response(status), tmp_path / "archive")


async def test_a_status_is_shown_with_its_name(tmp_path: Path) -> None:
    """Not with the phrase of the server, who may have put anything there."""
    with pytest.raises(DownloadError) as info:
        await fetch(httpx.Response(404, extensions={"reason_phrase": b"x"}), tmp_path / "a")
    assert str(info.value) == "http://h/a: the answer is 404 Not Found"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (httpx.ConnectError("refused"), TransientDownloadError, "no connection: refused"),
        (httpx.ReadError(""), TransientDownloadError, "no connection: ReadError"),
        (
            httpx.RemoteProtocolError("illegal status line: GET /?x"),
            TransientDownloadError,
            "expected an HTTP answer, found none",
        ),
        (httpx.UnsupportedProtocol("x"), DownloadError, "cannot be asked for"),
        (httpx.InvalidURL("x"), DownloadError, "cannot be asked for"),
        (UnicodeError("label too long"), DownloadError, "cannot be asked for"),
    ],
)
async def test_errors_of_the_connection(
    error: Exception, kind: type[Exception], message: str, tmp_path: Path
) -> None:
    """Nothing that a server sent gets into a message."""
    with pytest.raises(kind) as info:
        await fetch(error, tmp_path / "archive")
    assert str(info.value) == f"http://h/a: {message}"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"x" * 100_001),
        ({"Content-Encoding": "gzip"}, gzip.compress(bytes(5_000_000))),
        ({"Content-Length": "100001"}, b""),
    ],
)
async def test_an_archive_over_the_limit_is_refused(
    headers: dict[str, str], body: bytes, tmp_path: Path
) -> None:
    """By what comes, by what it inflates to, and by what is announced; nothing is kept."""
    path = tmp_path / "archive"
    answer = httpx.Response(200, headers=headers, stream=Body([body, b"x"]))
    with pytest.raises(DownloadError, match="expected at most 100000 bytes, found"):
        await fetch(answer, path)
    assert not path.exists()


@pytest.mark.parametrize("encoding", [None, "identity", "gzip", "X-GZIP"])
async def test_an_encoding_is_undone(encoding: str | None, tmp_path: Path) -> None:
    """Also one that was not asked for, in pieces of any size."""
    content = os.urandom(20_000) + bytes(50_000)
    coded = gzip.compress(content) if encoding and "gzip" in encoding.lower() else content
    pieces = [coded[at : at + 777] for at in range(0, len(coded), 777)]
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    answer = httpx.Response(200, headers=headers, stream=Body(pieces))
    await fetch(answer, tmp_path / "archive")
    assert (tmp_path / "archive").read_bytes() == content


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("br", b"", "expected no Content-Encoding or gzip, found 'br'"),
        ("gzip, gzip", b"", "expected no Content-Encoding or gzip, found 'gzip, gzip'"),
        ("gzip", b"plain", "its Content-Encoding gzip is damaged"),
        ("gzip", gzip.compress(b"x" * 99)[:-1], "its Content-Encoding gzip is cut short"),
    ],
)
async def test_a_wrong_encoding_is_refused(
    encoding: str, body: bytes, message: str, tmp_path: Path
) -> None:
    """An archive that cannot be read is none."""
    headers = {"Content-Encoding": encoding, "Content-Length": str(len(body))}
    answer = httpx.Response(200, headers=headers, stream=Body([body]))
    with pytest.raises(DownloadError) as info:
        await fetch(answer, tmp_path / "archive")
    assert str(info.value) == f"http://h/a: {message}"


async def test_a_disk_that_says_no_may_mend_itself(tmp_path: Path) -> None:
    """The message says what the operating system said."""
    with pytest.raises(TransientDownloadError) as info:
        await fetch(httpx.Response(200, content=b"x"), tmp_path / "missing" / "archive")
    assert str(info.value) == "http://h/a: cannot be written: No such file or directory"


@pytest.mark.slow
async def test_a_large_archive_arrives_whole(tmp_path: Path) -> None:
    """More than one batch, over a real socket, with the headers that servers see."""
    content = os.urandom(3_000_000)
    fetcher = make_fetcher(SourceLimits())
    async with open_server({"/a?q": respond(content)}) as server:
        url = server.url.replace("//", "//me:secret@") + "/a?q#f"
        await fetcher.fetch(make_request(url, tmp_path / "archive", request_id="id-1"))
    assert (tmp_path / "archive").read_bytes() == content
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a?q HTTP/1.1"
    expected = {"X-Request-Id: id-1", "Accept-Encoding: identity"}
    assert expected | {"Authorization: Basic bWU6c2VjcmV0"} <= set(lines)


@pytest.mark.parametrize(
    ("value", "etag"),
    [
        ('"a-1"', '"a-1"'),
        ('""', '""'),
        (None, None),
        ('W/"a-1"', None),
        ("a-1", None),
        ('"a" "b"', None),
        ('"' + "x" * 255 + '"', None),
    ],
)
async def test_only_a_strong_etag_is_told(
    value: str | None, etag: str | None, tmp_path: Path
) -> None:
    """A weak one may stand for other bytes."""
    headers = {} if value is None else {"ETag": value}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, content=b"x")

    fetcher = HttpFetcher(limits=LIMITS, transport=lambda: httpx.MockTransport(answer))
    fetched = await fetcher.fetch(make_request("http://h/", tmp_path / "archive"))
    assert fetched is not None
    assert fetched.etag == etag


async def test_redirects_are_followed_to_the_limit(tmp_path: Path) -> None:
    """As many as the limit, and not one more."""
    answers = {
        f"/{n}": respond(b"ignored", f"Location: {n - 1}?s", status="302 Found") for n in (1, 2, 3)
    } | {f"/{n}?s": respond(b"", f"Location: /{n - 1}?s", status="307 X") for n in (1, 2)}
    answers["/0?s"] = respond(b"here")
    fetcher = make_fetcher(LIMITS)
    async with open_server(answers) as server:
        await fetcher.fetch(make_request(f"{server.url}/2", tmp_path / "archive"))
        assert (tmp_path / "archive").read_bytes() == b"here"
        with pytest.raises(DownloadError) as info:
            await fetcher.fetch(make_request(f"{server.url}/3", tmp_path / "archive"))
        assert str(info.value) == f"{server.url}/3: expected at most 2 redirects, found more"


async def test_cookies_are_not_kept(tmp_path: Path) -> None:
    """One app's server cannot mark the downloads of another."""
    answers = {"/": respond(b"x", "Set-Cookie: a=b; Path=/")}
    fetcher = make_fetcher(LIMITS)
    async with open_server(answers) as server:
        for _ in range(2):
            await fetcher.fetch(make_request(f"{server.url}/", tmp_path / "archive"))
    assert len(server.requests) == 2
    assert b"cookie" not in b"".join(server.requests).lower()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (respond(b"half", "Content-Length: 8"), "cut short after 4 of 8 bytes"),
        (respond(b"5\r\nhal", "Transfer-Encoding: chunked"), "cut short after 3 bytes"),
        (respond(b"5\r\nwhole\r\n", "Transfer-Encoding: chunked"), "cut short after 5 bytes"),
        (respond(b"x\r\nwhole\r\n", "Transfer-Encoding: chunked"), "cut short after 0 bytes"),
        (b"", "expected an HTTP answer, found none"),
        (b"GET /?secret HTTP/1.1\r\n\r\n", "expected an HTTP answer, found none"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000, "expected an HTTP answer, found none"),
    ],
)
async def test_a_broken_answer_may_mend_itself(answer: bytes, message: str, tmp_path: Path) -> None:
    """What ends too early is not taken for an archive."""
    fetcher = make_fetcher(LIMITS)
    async with open_server({"/a?x": answer}) as server:
        with pytest.raises(TransientDownloadError) as info:
            await fetcher.fetch(make_request(f"{server.url}/a?x", tmp_path / "archive"))
    assert str(info.value) == f"{server.url}/a: {message}"


@pytest.mark.parametrize(
    ("headers", "body"), [({}, b""), ({"Content-Encoding": "gzip"}, gzip.compress(b"x")[:-1])]
)
async def test_a_body_without_length_that_lacks_bytes_may_mend_itself(
    headers: dict[str, str], body: bytes, tmp_path: Path
) -> None:
    """The server may have died: nothing at all, or an encoding without its end, is no body."""
    with pytest.raises(TransientDownloadError) as info:
        await fetch(httpx.Response(200, headers=headers, stream=Body([body])), tmp_path / "archive")
    assert str(info.value) == f"http://h/a: cut short after {len(body)} bytes"


@pytest.mark.parametrize(
    ("answer", "ends_by_close"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nall", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall", True),
        (respond(b"all"), False),
        (respond(b"3\r\nall\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), False),
    ],
)
async def test_how_a_body_ends_is_told(answer: bytes, ends_by_close: bool, tmp_path: Path) -> None:
    """Only the end of a connection proves nothing."""
    async with open_server({"/": answer}) as server:
        fetched = await make_fetcher(LIMITS).fetch(make_request(f"{server.url}/", tmp_path / "a"))
    assert fetched is not None
    assert fetched.ends_by_close == ends_by_close


NOW = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "9" * 18}, 1e18),
        ({"Retry-After": "9" * 19}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "\u0662"}, None),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:00 GMT", **NOW}, 23.0),
        ({"Retry-After": "Sun Nov  6 08:50:00 1994", **NOW}, 23.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:00:00 GMT", **NOW}, 0.0),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:00 GMT"}, None),
        ({"Retry-After": "1 Jan 2026 00:00:00 +9999999999999999", **NOW}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_may_say_when_to_come_again(
    headers: dict[str, str], seconds: float | None, status: int, tmp_path: Path
) -> None:
    """In seconds, or as a date that counts from its own; nonsense is as nothing."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    with pytest.raises(TransientDownloadError) as info:
        await fetch(httpx.Response(status, headers=httpx.Headers(raw)), tmp_path / "archive")
    assert info.value.retry_after == seconds


async def test_a_body_without_length_ends_with_the_connection(tmp_path: Path) -> None:
    """As HTTP/1.0 servers do it; nobody knows how much is to come."""
    told: list[tuple[int, int | None]] = []

    def tell(received: int, total: int | None) -> None:
        told.append((received, total))

    fetcher = make_fetcher(LIMITS)
    async with open_server({"/": b"HTTP/1.0 200 OK\r\n\r\nall"}) as server:
        await fetcher.fetch(make_request(f"{server.url}/", tmp_path / "a", progress=tell))
    assert (tmp_path / "a").read_bytes() == b"all"
    assert (told[0], told[-1]) == ((0, None), (3, None))


async def test_a_shorter_body_than_announced_is_noticed_without_sockets(tmp_path: Path) -> None:
    """Also where the transport does not count by itself."""
    headers = {"Content-Length": "9"}
    answer = httpx.Response(200, headers=headers, stream=Body([b"four"]))
    with pytest.raises(TransientDownloadError, match="cut short after 4 of 9 bytes"):
        await fetch(answer, tmp_path / "archive")


@pytest.mark.parametrize("port", ["closed", "tls"])
async def test_no_connection_may_mend_itself(port: str, tmp_path: Path) -> None:
    """The reason is that of the operating system or of TLS."""
    fetcher = make_fetcher(LIMITS)
    async with open_server({}) as server:
        url = server.url
        if port == "tls":
            https = url.replace("http", "https")
            with pytest.raises(TransientDownloadError, match=r"no connection: .*SSL|TLS"):
                await fetcher.fetch(make_request(https, tmp_path / "a"))
    with pytest.raises(TransientDownloadError) as info:
        await fetcher.fetch(make_request(url, tmp_path / "archive"))
    assert str(info.value) == f"{url}: no connection: Connection refused"


async def _endless(stream: trio.abc.Stream, _request: bytes) -> None:
    await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        await stream.send_all(b"x" * 1000)


async def test_an_endless_body_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    """The connection is closed, which the server notices."""
    fetcher = make_fetcher(LIMITS)
    async with open_server(_endless) as server:
        with pytest.raises(DownloadError, match="expected at most 100000 bytes, found more"):
            await fetcher.fetch(make_request(f"{server.url}/", tmp_path / "archive"))
        with trio.fail_after(10):
            await server.closed.wait()


@pytest.mark.parametrize("answer", [b"", respond(b"half", "Content-Length: 8")])
async def test_a_cancelled_download_closes_its_connection(answer: bytes, tmp_path: Path) -> None:
    """Wherever it waits; the server notices."""
    asked = trio.Event()

    async def hang(stream: trio.abc.Stream, _request: bytes) -> None:
        if answer:
            await stream.send_all(answer)
        asked.set()
        await stream.receive_some()

    fetcher = make_fetcher(LIMITS)
    async with open_server(hang) as server:
        fetch = partial(fetcher.fetch, make_request(f"{server.url}/", tmp_path / "a"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fetch)
            await asked.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(10):
            await server.closed.wait()


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_authorities_that_cannot_be_read_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """Not there, or none: an agent that cannot check certificates does not start."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(StartError, match="SSL_CERT_FILE, SSL_CERT_DIR: cannot read certificates"):
        make_fetcher(SourceLimits())
