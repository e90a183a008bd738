"""The head of a response, and what it says about the body (RFC 9110).  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import attrs

from smartmob_agent.errors import DownloadError, TransientDownloadError
from smartmob_agent.source.gunzip import Gunzip

__all__ = ["ResponseHead"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRANSIENT = frozenset({408, 425, 429})

# A weak tag, with "W/" in front, may stand for different bytes (8.8.1).  Characters other than
# ASCII are allowed, but no rule says how to send them back.
STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{0,254}"')

CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


@attrs.frozen(kw_only=True)
class ContentRange:
    """A part of an archive: from byte `first` up to, but without, byte `end`.

    whole_bytes: size of the archive, None if the server does not know.
    """

    first: int
    end: int
    whole_bytes: int | None


@attrs.frozen(kw_only=True)
class ResponseHead:
    """The head of a response.

    headers: names in any case → values.
    shown: the URL as messages may name it.
    """

    status: int
    headers: Mapping[str, str]
    shown: str

    @property
    def is_redirect(self) -> bool:
        return self.status in REDIRECTS

    @property
    def is_not_modified(self) -> bool:
        return self.status == HTTPStatus.NOT_MODIFIED

    @property
    def is_part(self) -> bool:
        """Whether this answers a request for a range: with the range, or that there is none."""
        return self.status in {
            HTTPStatus.PARTIAL_CONTENT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        }

    def check_status(self) -> None:
        """Raise a `DownloadError`, perhaps transient, unless the body is what was asked for."""
        if self.status in {HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}:
            return
        phrase = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else ""
        message = f"{self.shown}: the answer is {self.status} {phrase}".rstrip()
        if self.status in TRANSIENT or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientDownloadError(message, retry_after=self.retry_after)
        raise DownloadError(message)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait (10.2.3), None if it says nothing of use.

        A date counts from that of the answer: two clocks need not agree.
        """
        value = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"\d{1,18}", value, re.ASCII):
            return float(value)
        then, now = _date(value), _date(self.headers.get("Date", ""))
        if then is None or now is None:
            return None
        return max((then - now).total_seconds(), 0.0)

    @property
    def etag(self) -> str | None:
        """The entity tag, with its quotes; None if there is none, or a weak one."""
        value = self.headers.get("ETag", "")
        return value if STRONG_ETAG.fullmatch(value) else None

    @property
    def is_chunked(self) -> bool:
        """Whether the body says itself where it ends."""
        return "Transfer-Encoding" in self.headers

    @property
    def length(self) -> int | None:
        """The size of the body in bytes, None if only its end will tell."""
        if self.is_chunked:  # which counts, then (RFC 9112, 6.3)
            return None
        value = self.headers.get("Content-Length", "")
        return int(value) if re.fullmatch(r"\d{1,20}", value, re.ASCII) else None

    @property
    def content_range(self) -> ContentRange | None:
        """Which bytes of the whole archive the body has; None if they are not one range."""
        match = CONTENT_RANGE.fullmatch(self.headers.get("Content-Range", ""))
        if match is None or self.status != HTTPStatus.PARTIAL_CONTENT:
            return None
        return ContentRange(
            first=int(match[1]),
            end=int(match[2]) + 1,
            whole_bytes=None if match[3] == "*" else int(match[3]),
        )

    @property
    def encoding(self) -> str:
        """The Content-Encoding in lower case; empty if there is none."""
        value = self.headers.get("Content-Encoding", "").strip().lower()
        return "" if value == "identity" else value

    def decoder(self) -> Gunzip | None:
        """A decoder of the body: some servers encode it although nobody asked them to.

        None if it is not encoded.  Raises `DownloadError` for an unknown encoding.
        """
        if not self.encoding:
            return None
        if self.encoding in {"gzip", "x-gzip"}:
            return Gunzip()
        raise DownloadError(
            f"{self.shown}: expected no Content-Encoding or gzip, found {self.encoding[:20]!r}"
        )


def _date(text: str) -> datetime | None:
    """Read a date of HTTP (5.6.7); None if it is none."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
