"""What the head of an answer says about its body (RFC 9110).  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus

import attrs

from smartmob_agent.errors import DownloadError, TransientDownloadError
from smartmob_agent.source.archive.decompress import Gunzip

__all__ = ["ResponseHead"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PASSING = frozenset({408, 425, 429})

# "W/" in front of it would say that other bytes may have the same one (8.8.1).  Others than
# ASCII are allowed, but there is no saying how they would be sent back.
STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{0,254}"')

CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


@attrs.frozen(kw_only=True)
class ContentRange:
    """A part of an archive: from byte `first` to before byte `end`.

    whole_bytes: of the archive, None if the server does not know.
    """

    first: int
    end: int
    whole_bytes: int | None


@attrs.frozen(kw_only=True)
class ResponseHead:
    """The head of an answer.

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
        """Whether it answers a request for a part, by this part or by saying that there is none."""
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
        if self.status in PASSING or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise TransientDownloadError(message)
        raise DownloadError(message)

    @property
    def etag(self) -> str | None:
        """The entity tag, with its quotes; None if there is none, or a weak one."""
        value = self.headers.get("ETag", "")
        return value if STRONG_ETAG.fullmatch(value) else None

    @property
    def length(self) -> int | None:
        """The bytes of the body, None if it is not known before its end."""
        if "Transfer-Encoding" in self.headers:  # which counts, then (RFC 9112, 6.3)
            return None
        value = self.headers.get("Content-Length", "")
        return int(value) if re.fullmatch(r"\d{1,20}", value, re.ASCII) else None

    @property
    def content_range(self) -> ContentRange | None:
        """Which bytes of the whole the body is; None if it is no single range of them."""
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
        """How the body is encoded, in lower case; empty if it is not."""
        value = self.headers.get("Content-Encoding", "").strip().lower()
        return "" if value == "identity" else value

    def decoder(self) -> Gunzip | None:
        """What undoes the encoding of the body: servers send some although we ask for none.

        Raises `DownloadError` for one that is not known.
        """
        if not self.encoding:
            return None
        if self.encoding in {"gzip", "x-gzip"}:
            return Gunzip()
        raise DownloadError(
            f"{self.shown}: expected no Content-Encoding or gzip, found {self.encoding[:20]!r}"
        )
