"""`PUT /upload-source`: an archive as the body, to the disk as it comes.

Without the framework, which keeps in memory what a handler has not read yet.
"""

from __future__ import annotations

from smartmob_agent.api.route import Answer, json_answer
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import BadRequestError, RequestError, SourceError, TransientError
from smartmob_agent.http.asgi import Receive, Scope, Send
from smartmob_agent.http.body_limits import Bodies, BodyLimits
from smartmob_agent.http.problems import problem, problem_of
from smartmob_agent.source.uploads import Uploads

__all__ = ["METHOD", "PATH", "UploadSource", "make_bodies"]

METHOD = "PUT"
PATH = "/upload-source"
_ALLOW = {"Allow": f"OPTIONS, {METHOD}"}


def make_bodies(config: AgentConfig, upload_bytes: int) -> Bodies:
    """Return the limits of the bodies of requests: an upload may be as long as a download.

    upload_bytes: for an upload.
    """
    limits = BodyLimits(
        size_bytes=upload_bytes,
        idle_timeout=config.source.idle_timeout,
        total_timeout=config.source.total_timeout,
    )
    return Bodies(config.http, {(METHOD, PATH): limits})


class UploadSource:
    """The ASGI application of that path; it is to be cancelled when its client goes."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(scope, _Body(receive))
        headers = [
            (name.lower().encode(), value.encode()) for name, value in answer.headers.items()
        ]
        assert isinstance(answer.body, bytes)  # noqa: S101  # for mypy: it is JSON
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, body: _Body) -> Answer:
        if scope["method"] == "OPTIONS":
            return Answer(body=b"", headers=_ALLOW)
        if scope["method"] != METHOD:
            document = problem(405, f"{scope['method']} {PATH}: method not allowed")
            return json_answer(405, document, _ALLOW)
        try:
            if any(name == b"content-range" for name, _ in scope["headers"]):  # RFC 9110, 14.5
                raise BadRequestError("expected the whole archive, found a Content-Range")
            upload = await self._uploads.receive(body.read)
        except RequestError as error:
            return json_answer(error.status, problem_of(error))
        except SourceError as error:
            return json_answer(422, problem(422, str(error)))
        except TransientError as error:
            return json_answer(507, problem(507, str(error)))
        document = {"source_url": upload.url, "sha256": upload.sha256, "size": upload.size_bytes}
        return json_answer(201, document, {"Location": upload.url})


class _Body:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def read(self) -> bytes:
        """Return the next bytes of the body; none at its end."""
        data = b""
        while self._more and not data:
            message = await self._receive()
            data = message.get("body", b"")
            self._more = message.get("more_body", False)
        return data
