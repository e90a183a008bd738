"""The description of the HTTP API: OpenAPI 3.1, made of its routes."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smartmob_agent.api.kinds import KINDS, TEXT, Name, QueryOption
from smartmob_agent.api.links import SLUG, Links
from smartmob_agent.api.problem_catalogue import ANYWHERE, PROBLEM, WITH_TOKENS, ProblemReply
from smartmob_agent.api.route import Answer, ApiContext, Reply, Request, Route, targets_of
from smartmob_agent.api.schemas import EXAMPLE_SLUG, SLUG_SCHEMA, Document, LinkTo
from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.http.headers import REQUEST_ID_HEADER as HEADER
from smartmob_agent.http.problems import MEDIA_TYPE

__all__ = ["PATH", "ROUTES", "describe", "problems_of"]

_VERSION = importlib.metadata.version("smartmob-agent")
"""Read from files, so not by who asks."""

PATH = "/openapi.json"
_TYPE = "application/vnd.oai.openapi+json"
_ABOUT = """\
Runs twelve-factor apps: a source archive in, a supervised process and its console out.

JSON in and out.  A body is read as JSON whatever its Content-Type says.  Every answer carries
`X-Request-Id`: that of the request if it is sane, else a new one.  Every error is a document of
the type `application/problem+json` (RFC 9457).  Each path that knows GET knows HEAD too, and each
one OPTIONS; any other method is a 405 with `Allow`, any other path a 404."""
_TAGS = {
    "processes": "Make, see and delete processes.",
    "control": "Start again, replace, send signals.",
    "apps": "Deploy, roll back and scale many processes at once.",
    "output": "What children write.",
    "agent": "The agent itself.",
}
_HEADERS = {
    HEADER: "The id of the request.",
    "Allow": "Methods.",
    "Cache-Control": "Whether the answer may be kept.",
    "ETag": "Another one for each other description.",
    "First-Line": "The number of the first line in the answer, or of the next one to come.",
    "Lines-Missed": "How many lines that were asked for are gone.",
    "Lines-Lost": "How many lines behind the first are gone, as far as that is known.",
    "Link": "Further links: RFC 8288.",
    "Location": "What was made.",
    "Retry-After": "Seconds.",
    "Upgrade": "`websocket`.",
    "WWW-Authenticate": "What is asked for: RFC 6750.",
}
_NUMBERS = ("First-Line", "Lines-Missed", "Lines-Lost", "Retry-After")
_EXAMPLE_URL = "http://127.0.0.1:8080"


async def _show_description(context: ApiContext, request: Request) -> Answer:
    head, tail = _encode(context.routes, _schemes_of(context.config.security))
    body = head + json.dumps({"url": request.links.base}).encode() + tail
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if _knows(request.headers.get("if-none-match", ""), tag):
        return Answer(status=304, body=b"", headers=headers)
    return Answer(body=body, headers={"Content-Type": _TYPE, **headers})


ROUTES = (
    Route(
        method="GET",
        path=PATH,
        handle=_show_description,
        id="getDescription",
        tag="agent",
        summary="Read this description",
        headers={"If-None-Match": QueryOption(kind=TEXT, about="An `ETag` that is known already.")},
        replies={
            200: Reply("It.", {_TYPE: {"type": "object"}}, headers=("ETag", "Cache-Control")),
            304: Reply("It is as it was.", headers=("ETag", "Cache-Control")),
        },
        relation="service-desc",  # RFC 8631
    ),
)


@functools.lru_cache(maxsize=8)
def _encode(routes: tuple[Route, ...], schemes: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Return the document before and after its server, which depends on the request."""
    document = {**_describe(routes, schemes), "servers": ["@"]}
    head, tail = json.dumps(document).encode().split(b'"@"')
    return head, tail


def _knows(header: str, tag: str) -> bool:
    """RFC 9110, section 13.1.2; weak tags are compared as strong ones."""
    known = [one.strip().removeprefix("W/") for one in header.split(",")]
    return tag in known or known == ["*"]


def problems_of(routes: Iterable[Route]) -> Mapping[str, ProblemReply]:
    """Return all that may be answered with, by name."""
    own = (known for route in routes for known in route.problems)
    return {known.name: known for known in (*ANYWHERE, *WITH_TOKENS, *own)}


def describe(routes: Sequence[Route], config: AgentConfig) -> dict[str, Any]:
    """Return the document, but for its servers."""
    return _describe(routes, _schemes_of(config.security))


def _schemes_of(security: Security) -> tuple[str, ...]:
    """Return what this agent asks for."""
    asked = {
        "bearer": security.token_file is not None,
        "certificate": security.tls_client_ca is not None,
    }
    return tuple(name for name, is_asked in asked.items() if is_asked)


def _describe(routes: Sequence[Route], schemes: Sequence[str]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        item = _operation(route, secured="bearer" in schemes and not route.open)
        if "bearer" in schemes and route.open:
            item["security"] = [{name: []} for name in schemes if name != "bearer"]
        named = route.path.replace(SLUG, f"{{{route.parameter}}}")
        where = paths.setdefault(named, {})
        if SLUG in route.path:
            name = route.parameter.capitalize()
            where["parameters"] = [{"$ref": f"#/components/parameters/{name}"}]
        where[route.method.lower()] = item
    components = {
        "responses": {name: _problem(known) for name, known in problems_of(routes).items()},
        "parameters": {"Slug": _SLUG_PARAMETER, "App": _APP_PARAMETER},
        "headers": {name: _header(name) for name in _HEADERS},
        "securitySchemes": {name: _SCHEMES[name] for name in schemes},
    }
    trees = _Trees(Links(_EXAMPLE_URL, targets_of(routes)))
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "smartmob-agent",
            "version": _VERSION,
            "summary": "Run twelve-factor apps remotely",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "security": [{name: [] for name in schemes}] if schemes else [],
        "paths": trees.finish(paths),
        "components": {**trees.finish(components), "schemas": trees.schemas()},
    }


class _Trees:
    """Puts references where documents stand, and URLs where links do."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self._found: dict[str, Document] = {}

    def finish(self, tree: Any) -> Any:
        """Return the same as JSON has it."""
        if isinstance(tree, Document):
            assert self._found.setdefault(tree.name, tree) is tree, tree.name  # noqa: S101  # a bug
            return {"$ref": f"#/components/schemas/{tree.name}"}
        if isinstance(tree, LinkTo):
            return self._links.to(tree.operation, tree.slug)
        if isinstance(tree, Mapping):
            return {key: self.finish(value) for key, value in tree.items()}
        if isinstance(tree, list | tuple):
            return [self.finish(value) for value in tree]
        return tree

    def schemas(self) -> dict[str, Any]:
        """Return all documents that were found, and those that stand in them."""
        schemas: dict[str, Any] = {}
        while missing := self._found.keys() - schemas.keys():
            for name in sorted(missing):
                document = self._found[name]
                schemas[name] = self.finish(document.schema)
                if document.example is not None:
                    schemas[name]["examples"] = [self.finish(document.example)]
        return schemas


_SLUG_PARAMETER = {
    "name": "slug",
    "in": "path",
    "required": True,
    "description": "Names the process.",
    "schema": SLUG_SCHEMA,
    "example": EXAMPLE_SLUG,
}
_APP_PARAMETER = {
    "name": "app",
    "in": "path",
    "required": True,
    "description": "Names the app.",
    "schema": KINDS[Name].schema,
    "example": "shop",
}
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of the tokens of the agent: RFC 6750.",
    },
    "certificate": {"type": "mutualTLS"},
}


def _operation(route: Route, *, secured: bool) -> dict[str, Any]:
    problems = (*route.problems, *ANYWHERE, *(WITH_TOKENS if secured else ()))
    answers = {status: _reply(reply) for status, reply in route.replies.items()}
    for known in problems:
        answers[known.status] = {"$ref": f"#/components/responses/{known.name}"}
    document: dict[str, Any] = {
        "operationId": route.id,
        "tags": [route.tag],
        "summary": route.summary,
        "responses": {str(status): answers[status] for status in sorted(answers)},
    }
    if route.about:
        document["description"] = route.about
    parameters = [
        *(_parameter("query", name, option) for name, option in route.query.items()),
        *(_parameter("header", name, option) for name, option in route.headers.items()),
    ]
    if parameters:
        document["parameters"] = parameters
    if route.body is not None:
        document["requestBody"] = {
            "required": route.body.required,
            "content": {route.body.media_type: {"schema": route.body.schema}},
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
        "content": {MEDIA_TYPE: {"schema": PROBLEM, "example": known.example}},
    }


def _headers(names: Iterable[str]) -> Mapping[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (HEADER, *names)}


def _header(name: str) -> dict[str, Any]:
    kind = {"type": "integer", "minimum": 0} if name in _NUMBERS else {"type": "string"}
    return {"description": _HEADERS[name], "required": True, "schema": kind}
