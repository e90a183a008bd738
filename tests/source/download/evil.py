"""Servers that do to a download what must not work, each with what it does and how it ends.

They need no sockets: a fetcher can meet them on a virtual clock, and an agent on loopback.
"""

from __future__ import annotations

import gzip
import re
import socket
import struct
from collections.abc import Awaitable, Callable

import attrs
import trio

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.errors import DownloadError, TransientDownloadError
from tests.source.servers import respond

LIMITS = SourceLimits(
    archive_bytes=100_000, redirects=3, resumes=1, idle_timeout=1.0, total_timeout=2.5
)
"""What the messages below speak of."""

FINAL, PASSING, NOTHING = DownloadError, TransientDownloadError, None

CUT = "cut short after .*"
MANY = "expected at most 3 redirects, found more"
NO_HTTP = "expected an HTTP answer, found none"
NO_WAY = "a redirect that cannot be followed"
OTHER = "expected the rest, found other bytes"
SILENT = "nothing came for 1 s"
TOO_LARGE = "expected at most 100000 bytes, found "
TOO_SLOW = "not complete after 2.5 s"

OK = b"HTTP/1.1 200 OK\r\n"
FIRST = respond(b"half", 'ETag: "1"', "Content-Length: 8")

Pause = Callable[[trio.abc.Stream, float], Awaitable[None]]
"""Lets seconds pass once the other end waits for something to come."""

Step = Callable[[trio.abc.Stream, Pause], Awaitable[None]]


@attrs.frozen(kw_only=True)
class Evil:
    """A server of which nothing good comes.

    what: what it does.
    error: how a download ends; None: it works, but is no archive.
    message: what the error says behind the URL, as a pattern.
    """

    what: str
    error: type[Exception] | None
    message: str
    handle: Callable[[Pause, trio.abc.Stream, bytes], Awaitable[None]]

    @property
    def path(self) -> str:
        """Where it is asked; what it makes of it begins with the same."""
        return "/" + re.sub("[^a-z0-9]+", "-", self.what.lower())

    @property
    def state(self) -> str:
        """What becomes of a process with such a source."""
        return "backoff" if self.error is TransientDownloadError else "download failure"


EVILS: list[Evil] = []


def evil(what: str, error: type[Exception] | None, message: str, *steps: bytes | Step) -> None:
    """Add a server that takes these steps, and then closes the connection."""

    async def handle(pause: Pause, stream: trio.abc.Stream, _request: bytes) -> None:
        for step in steps:
            await (stream.send_all(step) if isinstance(step, bytes) else step(stream, pause))

    EVILS.append(Evil(what=what, handle=handle, error=error, message=message))


def evil_rest(
    what: str, error: type[Exception] | None, message: str, rest: bytes, *, first: bytes = FIRST
) -> None:
    """Add a server that cuts its answer, and sends this when it is asked for the rest."""

    async def handle(_pause: Pause, stream: trio.abc.Stream, request: bytes) -> None:
        asked = re.search(rb'(?i)\r\nrange: bytes=4-\r\nif-range: "1"\r\n', request)
        await stream.send_all(rest if asked else first)

    EVILS.append(Evil(what=what, handle=handle, error=error, message=message))


def without_end(piece: bytes, seconds: float = 0.0) -> Step:
    """Send a piece over and over again."""

    async def step(stream: trio.abc.Stream, pause: Pause) -> None:
        while True:
            await stream.send_all(piece)
            if seconds:
                await pause(stream, seconds)

    return step


async def silence(stream: trio.abc.Stream, pause: Pause) -> None:
    """Send nothing until the other end goes."""
    await pause(stream, 1.0)
    await stream.receive_some()


async def reset(stream: trio.abc.Stream, _pause: Pause) -> None:
    """Let the kernel answer with a reset."""
    if isinstance(stream, trio.SocketStream):
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)


def chunks(*chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + body


def redirect(location: str) -> bytes:
    return respond(b"", f"Location: {location}", status="302 Found")


def rest(content_range: str, *headers: str, body: bytes = b"rest") -> bytes:
    return respond(body, f"Content-Range: {content_range}", *headers, status="206 Partial Content")


def encoded(encoding: str, body: bytes) -> bytes:
    return respond(body, f"Content-Encoding: {encoding}")


# Lengths.
says_5 = "Content-Length: 5"
evil(
    "says more bytes than it sends",
    PASSING,
    "cut short after 5 of 6 bytes",
    respond(b"whole", "Content-Length: 6"),
)
evil("says fewer bytes than it sends", NOTHING, "", respond(b"whole and more", says_5))
evil("says two lengths", PASSING, NO_HTTP, respond(b"whole", says_5, "Content-Length: 6"))
evil("says a length below 0", PASSING, NO_HTTP, respond(b"", "Content-Length: -1"))
evil("says a length that is no number", PASSING, NO_HTTP, respond(b"", "Content-Length: 0x5"))
evil(
    "says a length of 5000 digits", PASSING, NO_HTTP, respond(b"", "Content-Length: " + "9" * 5000)
)
evil(
    "says a length over the limit",
    FINAL,
    TOO_LARGE + "1000000000000000",
    respond(b"", "Content-Length: 1000000000000000"),
)
evil(
    "says a length beside chunks",
    NOTHING,
    "",
    OK + says_5.encode() + chunks(b"more than 5", b"").removeprefix(OK.removesuffix(b"\r\n")),
)
evil("sends without an end", FINAL, TOO_LARGE + "more", OK + b"\r\n", without_end(b"x" * 10_000))
evil("sends nothing at all as a body", NOTHING, "", respond(b""))
evil("sends nothing but the end of the connection", PASSING, CUT, b"HTTP/1.0 200 OK\r\n\r\n")

# Time.
evil("never answers", PASSING, SILENT, silence)
evil("stops in the middle of a header", PASSING, SILENT, OK + b"Content-Le", silence)
evil("stops in the middle of the body", PASSING, SILENT, respond(b"x", says_5), silence)
evil("sends a header byte by byte", PASSING, SILENT, OK + b"A: ", without_end(b"x", 0.5))
evil("sends a body byte by byte", PASSING, TOO_SLOW, OK + b"\r\n", without_end(b"x", 0.5))
evil("sends a chunk for each byte", PASSING, TOO_SLOW, chunks(), without_end(b"1\r\nx\r\n", 0.5))
evil(
    "says 100 Continue for ever",
    PASSING,
    SILENT,
    without_end(b"HTTP/1.1 100 Continue\r\n\r\n", 0.25),
)

# What is no HTTP.
evil("closes the connection", PASSING, NO_HTTP)
evil("resets the connection", PASSING, f"{NO_HTTP}|no connection: Connection reset by peer", reset)
evil("switches to another protocol", PASSING, NO_HTTP, respond(status="101 Switching Protocols"))
evil("speaks SSH", PASSING, NO_HTTP, b"SSH-2.0-OpenSSH_9.2\r\n")
evil("speaks HTTP/0.9", PASSING, NO_HTTP, b"<html>secret</html>")
evil("speaks HTTP/2", PASSING, NO_HTTP, b"\0\0\x12\4" + b"\0" * 23)
evil("has a status that there is not", PASSING, NO_HTTP, respond(status="000 Zero"))
evil("has a NUL in a header", PASSING, NO_HTTP, respond(b"", "A: b\0c"))
evil("has a header without an end", PASSING, NO_HTTP, OK + b"A: ", without_end(b"x" * 10_000))
evil("has headers without an end", PASSING, NO_HTTP, OK, without_end(b"A: x\r\n" * 1000))

# Chunks.
evil("has a chunk size that is none", PASSING, CUT, chunks(), b"xyz\r\n")
evil("has a chunk of 2**64 bytes", PASSING, CUT, chunks(), b"FFFFFFFFFFFFFFFF\r\nhalf")
evil(
    "has a chunk extension without an end",
    PASSING,
    CUT,
    chunks() + b"4;",
    without_end(b"x" * 10_000),
)
evil(
    "has a trailer without an end",
    PASSING,
    CUT,
    chunks(b"what") + b"0\r\nA: ",
    without_end(b"x" * 10_000),
)
evil("has no last chunk", PASSING, CUT, chunks(b"what"))

# Status.
for status in ("204 No Content", "206 Partial Content", "304 Not Modified",
               "401 Unauthorized", "404 Not Found", "416 Range Not Satisfiable"):  # fmt: skip
    evil(f"answers {status}", FINAL, f"the answer is {status[:3]} .*", respond(status=status))
for status in ("429 Too Many Requests", "503 Service Unavailable", "999 Unknown"):
    evil(f"answers {status}", PASSING, f"the answer is {status[:3]}.*", respond(status=status))

# Redirects.
evil("redirects in a circle", FINAL, MANY, redirect("redirects-in-a-circle"))
evil("redirects ever deeper", FINAL, MANY, redirect("redirects-ever-deeper/a"))
evil(
    "redirects to a file",
    FINAL,
    f"{NO_WAY}: expected a URL with the scheme http.*",
    redirect("file:///etc/passwd"),
)
evil("redirects nowhere", FINAL, "a redirect without a Location", respond(status="301 Moved"))
evil("redirects to a space", FINAL, f"{NO_WAY}: .*white space.*", redirect("/a b"))
evil("redirects to port 0", FINAL, f"{NO_WAY}: .*port.*", redirect("http://127.0.0.1:0/"))
evil(
    "redirects with a body without an end",
    FINAL,
    f"{NO_WAY}: .*",
    b"HTTP/1.1 307 Temporary Redirect\r\nLocation: ftp://h/\r\n\r\n",
    without_end(b"x" * 10_000),
)
for host in ("169.254.169.254", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "100.100.100.200",
             "0.0.0.0", "2852039166", "0xa9.0xfe.0xa9.0xfe"):  # fmt: skip
    evil(f"redirects to {host}", FINAL, "must not be asked: .*", redirect(f"http://{host}/"))

# Encodings.
evil(
    "inflates over the limit",
    FINAL,
    TOO_LARGE + "more",
    encoded("gzip", gzip.compress(bytes(50_000_000))),
)
evil(
    "has an encoding that it does not have",
    FINAL,
    "its Content-Encoding gzip is damaged",
    encoded("gzip", b"plain"),
)
evil(
    "has half of an encoding",
    FINAL,
    "its Content-Encoding gzip is cut short",
    encoded("gzip", gzip.compress(b"what")[:-4]),
)
for encoding in ("br", "zstd", "gzip, gzip", "compress"):
    evil(f"is encoded as {encoding}", FINAL, f"expected no Content-Encoding .* found {encoding!r}",
         encoded(encoding, b""))  # fmt: skip

# The rest of an answer that was cut.
evil_rest("sends another part than the rest", PASSING, OTHER, rest("bytes 0-7/8", body=b"halfrest"))
evil_rest("sends only a part of the rest", PASSING, OTHER, rest("bytes 4-5/8", body=b"re"))
evil_rest("sends the rest of something longer", PASSING, OTHER, rest("bytes 4-7/9"))
evil_rest("sends a rest without saying which", PASSING, OTHER, rest(""))
evil_rest("sends a rest in another unit", PASSING, OTHER, rest("lines 4-7/8"))
evil_rest("sends a rest that ends before it begins", PASSING, OTHER, rest("bytes 4-3/8"))
evil_rest("sends the rest of another one", PASSING, OTHER, rest("bytes 4-7/8", 'ETag: "2"'))
evil_rest("sends an encoded rest", PASSING, OTHER, rest("bytes 4-7/8", "Content-Encoding: gzip"))
evil_rest("sends a rest of another length", PASSING, OTHER, rest("bytes 4-7/8", body=b"longer"))
evil_rest(
    "has no rest",
    PASSING,
    OTHER,
    respond(b"", "Content-Range: bytes */4", status="416 Range Not Satisfiable"),
)
evil_rest(
    "sends parts of the rest at once",
    PASSING,
    OTHER,
    respond(b"--x", "Content-Type: multipart/byteranges; boundary=x", status="206 Partial"),
)
evil_rest(
    "cuts the rest too",
    PASSING,
    "cut short after 6 of 8 bytes",
    rest("bytes 4-7/8", "Content-Length: 4", body=b"re"),
)
evil_rest("refuses the rest", FINAL, "the answer is 403 Forbidden", respond(status="403 No"))
evil_rest(
    "has changed into something too large", FINAL, TOO_LARGE + "100001", respond(b"x" * 100_001)
)
