"""What a route is, and what all of them together tell; no framework is known here.

A route is told once, beside its handler: what serves, describes, guards, logs, bounds, counts and
links to it reads it here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import attrs
import trio

from smartmob_agent.api.kinds import QueryOption
from smartmob_agent.api.links import Links, LinkTarget
from smartmob_agent.api.problem_catalogue import ProblemReply
from smartmob_agent.api.schemas import Document, Schema
from smartmob_agent.apps.registry import Apps
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import BodyTooLargeError
from smartmob_agent.http.asgi import Receive, Scope, Send
from smartmob_agent.http.body_limits import BodyLimits
from smartmob_agent.http.extensions import ClientLink
from smartmob_agent.http.problems import MEDIA_TYPE, problem
from smartmob_agent.metrics.agent import Metrics
from smartmob_agent.process.supervisor import Supervisor

__all__ = [
    "JSON",
    "TEXT_SCHEMA",
    "Answer",
    "ApiContext",
    "Body",
    "Reply",
    "Request",
    "Route",
    "RouteRules",
    "SocketSession",
    "json_answer",
    "json_reply",
    "methods_of",
    "problem_answer",
    "rules_of",
    "targets_of",
]

JSON = "application/json"
TEXT_SCHEMA: Schema = {"type": "string"}


@attrs.frozen(eq=False, kw_only=True)
class ApiContext:
    """What handlers work with: the parts of one agent.

    routes: all that it has.
    metrics: which watch `supervisor` already.
    log_readers: threads that read logs, for all clients together.
    """

    routes: tuple[Route, ...]
    supervisor: Supervisor
    apps: Apps
    config: AgentConfig
    metrics: Metrics
    log_readers: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(4))


@attrs.frozen(kw_only=True)
class Request:
    """A request, as far as routes look at it.

    slug: from the path, for routes that have one in it.
    query: what is behind the question mark, as it came.
    headers: name in lower case → value.
    links: begin as the client's own request did.
    body: its pieces, which are read once.
    body_bytes: what `read_body` takes.
    client: the connection to who asks.
    """

    slug: str
    query: bytes
    headers: Mapping[str, str]
    request_id: str
    links: Links
    body: AsyncIterator[bytes]
    body_bytes: int
    client: ClientLink

    async def read_body(self) -> bytes:
        """Read all of the body; raises `BodyTooLargeError`."""
        body = bytearray()
        async for data in self.body:
            body += data
            if len(body) > self.body_bytes:
                raise BodyTooLargeError(self.body_bytes)
        return bytes(body)


@attrs.frozen(kw_only=True)
class Answer:
    """What a client gets.

    body: all of it, or its pieces as they come.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes]
    headers: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Body:
    """The body of a request.  Its Content-Type does not matter: this is the one to send."""

    schema: Schema | Document
    media_type: str = JSON
    required: bool = True


@attrs.frozen
class Reply:
    """An answer that is none of the problems.

    content: media type → schema.
    headers: names of those that it has besides the id of the request.
    links: operation → parameter of it → where in this answer its value is.
    """

    about: str
    content: Mapping[str, Schema | Document] = attrs.field(factory=dict)
    headers: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    links: Mapping[str, Mapping[str, str]] = attrs.field(factory=dict, kw_only=True)


Handler = Callable[[ApiContext, Request], Awaitable[Answer]]
SocketSession = Callable[[Receive, Send], Awaitable[None]]
SocketHandler = Callable[[ApiContext, str, Scope], SocketSession]


@attrs.frozen(eq=False, kw_only=True)
class Route:
    """One method at one path: where it is, what it does, and what it asks for.

    path: may have `<slug>` in it, at its end or right behind its first part.
    parameter: what that names: `slug` or `app`.
    handle: answers a request; it may raise `RequestError`, which becomes a problem document.
    connect: looks at the handshake of a WebSocket, whose slug is its second argument; it returns
        what accepts and serves it, or raises `RequestError`, too.
    streamed: the handler reads the body as it comes; the framework would keep in memory what is
        not read yet.  No other route has this path.
    id: of the operation, in the description and for links.
    query, headers: what may be given.
    problems: what it may answer with, besides what any route may.
    open: no token is asked for; then it must tell nothing that matters.
    any_host: it answers under any name, or none: load balancers ask by whatever they have; then it
        must tell nothing that a page of a browser may not know.
    quiet: it is not logged, since whoever looks after the agent asks every few seconds.
    limits: of the body, where they are not those of all bodies.
    relation: names the link to it in the index, if there is one.
    """

    method: str
    path: str
    handle: Handler
    connect: SocketHandler | None = None
    streamed: bool = False
    id: str
    tag: str
    summary: str
    about: str = ""
    query: Mapping[str, QueryOption] = attrs.field(factory=dict)
    headers: Mapping[str, QueryOption] = attrs.field(factory=dict)
    body: Body | None = None
    replies: Mapping[int, Reply]
    problems: tuple[ProblemReply, ...] = ()
    open: bool = False
    any_host: bool = False
    quiet: bool = False
    limits: Callable[[ApiContext], BodyLimits] | None = None
    relation: str = ""
    parameter: str = "slug"


@attrs.frozen(kw_only=True)
class RouteRules:
    """What routes ask of the server and the middleware before them.

    open_paths: need no token.
    any_host_paths: may be asked under any name.
    quiet_paths: are not logged.
    patterns: what requests are told apart by in metrics; they may have `<slug>` in them.
    body_limits: method and path → what a body may cost there.
    """

    open_paths: frozenset[str]
    any_host_paths: frozenset[str]
    quiet_paths: frozenset[str]
    patterns: tuple[str, ...]
    body_limits: Mapping[tuple[str, str], BodyLimits]


def rules_of(context: ApiContext) -> RouteRules:
    """Return what the routes of an agent ask for."""
    routes = context.routes
    return RouteRules(
        open_paths=frozenset(route.path for route in routes if route.open),
        any_host_paths=frozenset(route.path for route in routes if route.any_host),
        quiet_paths=frozenset(route.path for route in routes if route.quiet),
        patterns=tuple(dict.fromkeys(route.path for route in routes)),
        body_limits={
            (route.method, route.path): route.limits(context)
            for route in routes
            if route.limits is not None
        },
    )


def targets_of(routes: Sequence[Route]) -> Mapping[str, LinkTarget]:
    """Return where links to operations go."""
    return {
        route.id: LinkTarget(
            path=route.path,
            socket=route.connect is not None,
            relation=route.relation,
            media_type=_media_type(route),
        )
        for route in routes
    }


def _media_type(route: Route) -> str:
    """Return what there is to read; the first one, if there are several."""
    reply = route.replies.get(200) if route.method == "GET" else None
    return "" if reply is None else next(iter(reply.content), "")


def methods_of(routes: Sequence[Route], path: str) -> tuple[str, ...]:
    """Return the methods of a path, in order: a GET answers HEAD, and every path OPTIONS."""
    own = {route.method for route in routes if route.path == path}
    return tuple(sorted(own | {"OPTIONS"} | ({"HEAD"} if "GET" in own else set())))


def json_reply(
    about: str,
    schema: Schema | Document,
    *,
    headers: tuple[str, ...] = (),
    links: Mapping[str, Mapping[str, str]] | None = None,
) -> Reply:
    """Return the reply by a document."""
    return Reply(about, {JSON: schema}, headers=headers, links=links or {})


def json_answer(
    status: int, document: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Answer:
    """Return a document; with a status from 400 on it is a problem document."""
    media_type = MEDIA_TYPE if status >= 400 else JSON
    body = json.dumps(document).encode()
    return Answer(status=status, body=body, headers={"Content-Type": media_type, **(headers or {})})


def problem_answer(
    known: ProblemReply, detail: str, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return a problem that is described, but with a detail of its own."""
    return json_answer(known.status, problem(known.status, detail), headers)
