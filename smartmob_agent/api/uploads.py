"""`PUT /upload-source`: an archive as the body, to the disk as it comes."""

from __future__ import annotations

from functools import partial

from smartmob_agent.api.problem_catalogue import STOPPING, ProblemReply
from smartmob_agent.api.route import (
    Answer,
    ApiContext,
    Body,
    Request,
    Route,
    json_answer,
    json_reply,
    problem_answer,
)
from smartmob_agent.api.schemas import EXAMPLE_DIGEST, SHA256, Document, count, document, url
from smartmob_agent.errors import BadRequestError, SourceError, TransientError
from smartmob_agent.http.body_limits import BodyLimits
from smartmob_agent.source.digests import upload_url

__all__ = ["ROUTES"]

_UPLOAD = Document(
    name="Upload",
    schema=document(
        "An archive that was uploaded.",
        source_url=url("What a create request can name."),
        sha256=SHA256,
        size=count("Bytes."),
    ),
    example={"source_url": upload_url(EXAMPLE_DIGEST), "sha256": EXAMPLE_DIGEST, "size": 0},
)
_UNPROCESSABLE_CONTENT = ProblemReply.plain(
    "UnprocessableContent",
    "The body is no archive.",
    422,
    "expected a zip or tar archive, found an HTML page",
)
_INSUFFICIENT_STORAGE = ProblemReply.plain(
    "InsufficientStorage", "The disk is full.", 507, "the disk of the agent is full"
)


def _limits(context: ApiContext) -> BodyLimits:
    """An upload may be as large, and take as long, as a download."""
    return BodyLimits(
        size_bytes=context.supervisor.uploads.limit_bytes,
        idle_timeout=context.config.source.idle_timeout,
        total_timeout=context.config.source.total_timeout,
    )


async def _upload(context: ApiContext, request: Request) -> Answer:
    if "content-range" in request.headers:  # RFC 9110, section 14.5
        raise BadRequestError("expected the whole archive, found a Content-Range")
    try:
        upload = await context.supervisor.uploads.receive(partial(anext, request.body, b""))
    except SourceError as error:
        return problem_answer(_UNPROCESSABLE_CONTENT, str(error))
    except TransientError as error:
        return problem_answer(_INSUFFICIENT_STORAGE, str(error))
    document = {"source_url": upload.url, "sha256": upload.sha256, "size": upload.size_bytes}
    return json_answer(201, document, {"Location": upload.url})


ROUTES = (
    Route(
        method="PUT",
        path="/upload-source",
        handle=_upload,
        streamed=True,
        id="uploadSource",
        tag="processes",
        summary="Bring an archive to an agent that cannot download it",
        body=Body(schema={}, media_type="application/octet-stream"),
        replies={201: json_reply("It is there, under a name.", _UPLOAD, headers=("Location",))},
        problems=(_UNPROCESSABLE_CONTENT, STOPPING, _INSUFFICIENT_STORAGE),
        limits=_limits,
        # One that is not registered is named by a URI: RFC 8288, section 2.1.2.
        relation="smartmob:upload-source",
    ),
)
