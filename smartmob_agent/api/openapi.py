"""The description of the HTTP API: OpenAPI 3.1, made of its routes and their operations."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smartmob_agent.api.examples import EXAMPLE_SLUG, EXAMPLES
from smartmob_agent.api.operation import Operation, Reply
from smartmob_agent.api.operations import OPENAPI_TYPE, OPERATIONS, TAGS
from smartmob_agent.api.problem_catalogue import ANYWHERE, PROBLEMS, WITH_TOKENS, ProblemReply
from smartmob_agent.api.query import QueryOption
from smartmob_agent.api.route import Answer, Request, Route
from smartmob_agent.api.schema_parts import ref
from smartmob_agent.api.schemas import SCHEMAS, SLUG
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.headers import REQUEST_ID_HEADER as HEADER
from smartmob_agent.http.middleware.authentication import OPEN_PATHS
from smartmob_agent.http.problems import MEDIA_TYPE

__all__ = ["PATH", "describe", "openapi_routes"]

PATH = "/openapi.json"
_ABOUT = """\
Runs twelve-factor apps: a source archive in, a supervised process and its console out.

JSON in and out.  A body is read as JSON whatever its Content-Type says.  Every answer carries
`X-Request-Id`: that of the request if it is sane, else a new one.  Every error is a document of
the type `application/problem+json` (RFC 9457).  Each path that knows GET knows HEAD too, and each
one OPTIONS; any other method is a 405 with `Allow`, any other path a 404."""
_HEADERS = {
    HEADER: "The id of the request.",
    "Allow": "Methods.",
    "Cache-Control": "Whether the answer may be kept.",
    "ETag": "Another one for each other description.",
    "First-Line": "The number of the first line in the answer, or of the next one to come.",
    "Lines-Missed": "How many lines that were asked for are gone.",
    "Link": "Further links: RFC 8288.",
    "Location": "What was made.",
    "Retry-After": "Seconds.",
    "Upgrade": "`websocket`.",
    "WWW-Authenticate": "What is asked for: RFC 6750.",
}
_NUMBERS = ("First-Line", "Lines-Missed", "Retry-After")


def openapi_routes(described: Iterable[tuple[str, str]], config: AgentConfig) -> Sequence[Route]:
    """Return the route of the description.

    described: method and path of each operation beside it.

    Raises `KeyError` for one of which nothing is known: a defect.
    """
    document = describe([*described, ("GET", PATH)], config)
    # Only the server depends on the request: all else is made once.
    head, tail = json.dumps({**document, "servers": ["@"]}).encode().split(b'"@"')

    async def show_description(request: Request) -> Answer:
        body = head + json.dumps({"url": request.links.base}).encode() + tail
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if _knows(request.headers.get("if-none-match", ""), tag):
            return Answer(status=304, body=b"", headers=headers)
        return Answer(body=body, headers={"Content-Type": OPENAPI_TYPE, **headers})

    return (Route("GET", PATH, show_description),)


def _knows(header: str, tag: str) -> bool:
    """RFC 9110, section 13.1.2; weak tags are compared as strong ones."""
    known = [one.strip().removeprefix("W/") for one in header.split(",")]
    return tag in known or known == ["*"]


def describe(described: Iterable[tuple[str, str]], config: AgentConfig) -> dict[str, Any]:
    """Return the document, but for its servers.

    described: method and path of each operation, `<slug>` being its parameter.
    """
    schemes = _security_schemes(config)
    paths: dict[str, Any] = {}
    for method, path in described:
        operation = OPERATIONS[method, path]
        item = _operation(operation, secured="bearer" in schemes and path not in OPEN_PATHS)
        if "bearer" in schemes and path in OPEN_PATHS:
            item["security"] = [{name: []} for name in schemes if name != "bearer"]
        where = paths.setdefault(path.replace("<slug>", "{slug}"), {})
        if "<slug>" in path:
            where["parameters"] = [{"$ref": "#/components/parameters/Slug"}]
        where[method.lower()] = item
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "smartmob-agent",
            "version": importlib.metadata.version("smartmob-agent"),
            "summary": "Run twelve-factor apps remotely",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "security": [{name: [] for name in schemes}] if schemes else [],
        "paths": paths,
        "components": {
            "schemas": {
                name: {**schema, "examples": [EXAMPLES[name]]} if name in EXAMPLES else schema
                for name, schema in SCHEMAS.items()
            },
            "responses": {name: _problem(known) for name, known in PROBLEMS.items()},
            "parameters": {"Slug": _SLUG_PARAMETER},
            "headers": {name: _header(name) for name in _HEADERS},
            "securitySchemes": schemes,
        },
    }


_SLUG_PARAMETER = {
    "name": "slug",
    "in": "path",
    "required": True,
    "description": "Names the process.",
    "schema": SLUG,
    "example": EXAMPLE_SLUG,
}


def _security_schemes(config: AgentConfig) -> dict[str, Any]:
    """What this agent asks for."""
    schemes = {}
    if config.security.token_file is not None:
        schemes["bearer"] = {
            "type": "http",
            "scheme": "bearer",
            "description": "One of the tokens of the agent: RFC 6750.",
        }
    if config.security.tls_client_ca is not None:
        schemes["certificate"] = {"type": "mutualTLS"}
    return schemes


def _operation(operation: Operation, *, secured: bool) -> dict[str, Any]:
    names = (*operation.problems, *ANYWHERE, *(WITH_TOKENS if secured else ()))
    answers = {status: _reply(reply) for status, reply in operation.replies.items()}
    for name in names:
        answers[PROBLEMS[name].status] = {"$ref": f"#/components/responses/{name}"}
    document: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {str(status): answers[status] for status in sorted(answers)},
    }
    if operation.about:
        document["description"] = operation.about
    parameters = [
        *(_parameter("query", name, option) for name, option in operation.query.items()),
        *(_parameter("header", name, option) for name, option in operation.headers.items()),
    ]
    if parameters:
        document["parameters"] = parameters
    if operation.body is not None:
        document["requestBody"] = {
            "required": operation.body.required,
            "content": {operation.body.media_type: {"schema": operation.body.schema}},
        }
    return document


def _parameter(where: str, name: str, option: QueryOption) -> dict[str, Any]:
    schema = dict(option.kind.schema)
    if option.default is not None:
        schema["default"] = option.default
    if option.many:
        schema = {"type": "array", "items": schema}
    return {"name": name, "in": where, "description": option.about, "schema": schema}


def _reply(reply: Reply) -> dict[str, Any]:
    document: dict[str, Any] = {"description": reply.about, "headers": _headers(reply.headers)}
    if reply.content:
        document["content"] = {
            media_type: {"schema": schema} for media_type, schema in reply.content.items()
        }
    if reply.links:
        document["links"] = {
            name: {"operationId": name, "parameters": parameters}
            for name, parameters in reply.links.items()
        }
    return document


def _problem(known: ProblemReply) -> dict[str, Any]:
    return {
        "description": known.about,
        "headers": _headers(known.headers),
        "content": {MEDIA_TYPE: {"schema": ref("Problem"), "example": known.example}},
    }


def _headers(names: Iterable[str]) -> Mapping[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (HEADER, *names)}


def _header(name: str) -> dict[str, Any]:
    kind = {"type": "integer", "minimum": 0} if name in _NUMBERS else {"type": "string"}
    return {"description": _HEADERS[name], "required": True, "schema": kind}
