"""The ASGI application without sockets: HTTP by httpx, WebSockets by hand."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx
import trio

from smartmob_agent.api.app import ROUTES, make_app
from smartmob_agent.api.links import Links
from smartmob_agent.api.route import ApiContext, targets_of
from smartmob_agent.apps.registry import Apps
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.http.asgi import App, Message, Scope
from smartmob_agent.http.middleware.request_id import identify_requests
from smartmob_agent.metrics.agent import Metrics
from smartmob_agent.process.supervisor import Supervisor
from tests.api.description import DESCRIPTION
from tests.apps.world import open_apps
from tests.output.test_frames import read_back
from tests.process.world import World

CREATE = {
    "app": "app",
    "node": "web.0",
    "process_type": "web",
    "source_url": "http://127.0.0.1:1/app.zip",
}


@attrs.frozen
class Transport(httpx.AsyncBaseTransport):
    """From httpx to an application.  Each answer must be as the API's description says.

    httpx's own one leaves an asynchronous generator behind where a body is not read to its
    end, as Quart does from 0.23 on, and that is a warning.
    """

    app: App

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Call the application; an error that it raises is raised here, too."""
        messages: list[Message] = []
        incoming: list[Message] = [{"type": "http.request", "body": await request.aread()}]

        async def receive() -> Message:
            if not incoming:
                await trio.sleep_forever()
            return incoming.pop()

        async def send(message: Message) -> None:
            await trio.lowlevel.checkpoint()
            messages.append(message)

        await self.app(self._scope(request), receive, send)
        start, *body = messages
        content = b"".join(message["body"] for message in body)
        DESCRIPTION.check(request, start, content)
        return httpx.Response(start["status"], headers=start["headers"], content=content)

    def _scope(self, request: httpx.Request) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": request.url.raw_path,
            "query_string": request.url.query,
            "server": (request.url.host, request.url.port),
            "client": ("127.0.0.1", 123),
            "root_path": "",
        }


def make_links(base: str) -> Links:
    """Links of an agent at `base`."""
    return Links(base, targets_of(ROUTES))


def make_context(supervisor: Supervisor, apps: Apps, config: AgentConfig) -> ApiContext:
    """What handlers work with, with metrics of its own."""
    metrics = Metrics()
    metrics.watch(supervisor, apps)
    return ApiContext(
        routes=ROUTES, supervisor=supervisor, apps=apps, config=config, metrics=metrics
    )


@attrs.frozen
class Site:
    """An application with its supervisor and a client."""

    app: App
    supervisor: Supervisor
    apps: Apps
    client: httpx.AsyncClient

    async def create(self, **changes: Any) -> httpx.Response:
        return await self.client.post("/create-process", json={**CREATE, **changes})


@asynccontextmanager
async def open_site(world: World | None = None) -> AsyncIterator[Site]:
    """Serve a world of fakes at http://agent."""
    world = world or World()
    async with world.open() as supervisor, open_apps(supervisor) as apps:
        context = make_context(supervisor, apps, world.config)
        app = make_app(context, own_url="http://127.0.0.1:8080")
        app = identify_requests(app)
        transport = Transport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            yield Site(app, supervisor, apps, client)


class WebSocketClient:
    """The server's side of one WebSocket, as a test sees it.

    messages: what the application sent, in order.
    """

    def __init__(
        self,
        path: str,
        *,
        query: str = "",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", b"agent"), *headers],
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}, "smartmob.frames": {}},
        }
        self.messages: list[Message] = []
        self.sent = trio.lowlevel.ParkingLot()
        self.blocked: trio.Event | None = None
        self._to_app, self._from_client = trio.open_memory_channel[Message](math.inf)
        self.put({"type": "websocket.connect"})

    def put(self, message: Message) -> None:
        """Send a message to the application."""
        self._to_app.send_nowait(message)

    def leave(self) -> None:
        """Go away."""
        self.put({"type": "websocket.disconnect", "code": 1006})

    async def run(self, app: App) -> None:
        await app(self.scope, self._from_client.receive, self._send)

    async def wait_for(self, kind: str) -> Message:
        """Wait until the application has sent a message of this kind; return the first one."""
        while True:
            for message in self.messages:
                if message["type"] == kind:
                    return message
            await self.sent.park()

    @property
    def texts(self) -> list[str]:
        """The text messages that have come."""
        data = b"".join(m["frames"] for m in self.messages if "frames" in m)
        return [text.decode() for text in read_back(data)]

    @property
    def document(self) -> Any:
        """The body of the answer in place of a handshake."""
        bodies = [m["body"] for m in self.messages if m["type"].endswith("response.body")]
        return json.loads(b"".join(bodies))

    async def _send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        if self.blocked is not None:
            await self.blocked.wait()
        self.messages.append(message)
        self.sent.unpark_all()


@asynccontextmanager
async def attached(
    site: Site,
    slug: str = "app.web.0",
    *,
    query: str = "",
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> AsyncIterator[WebSocketClient]:
    """Attach a client that is accepted; at the end wait until the application is done."""
    client = WebSocketClient(f"/attach-console/{slug}", query=query, headers=headers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run, site.app)
        await client.wait_for("websocket.accept")
        yield client


def config(**changes: Any) -> AgentConfig:
    return attrs.evolve(AgentConfig(), **changes)
