"""Opens clients."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio

from smartmob_agent.client.address import parse_address
from smartmob_agent.client.client import Client
from smartmob_agent.client.errors import AddressError
from smartmob_agent.client.network import Requests, Sockets
from smartmob_agent.client.transport import open_transport

__all__ = ["open_client", "open_over"]

_TOKEN = re.compile(r"[!-~]+")


@asynccontextmanager
async def open_client(
    url: str,
    *,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = 30.0,
    patience: float = 60.0,
) -> AsyncGenerator[Client]:
    """Have a client of the agent at a URL; no connection is made before the first call.

    url: `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
    token: one of those in the agent's `--token-file`.
    tls: whom to trust, and with which certificate to come, for https; without it the
        certificates of the system count.
    timeout: seconds without any progress after which a request is given up.
    patience: seconds for which attachments and logs try to get a lost connection back.

    Raises `AddressError`, for the token too.  At the end all that the client opened is closed.
    """
    address = parse_address(url)
    if token is not None and not _TOKEN.fullmatch(token):
        raise AddressError("expected a token of visible ASCII characters")
    if address.tls and tls is None:
        tls = ssl.create_default_context()

    def make_sockets() -> Sockets:
        # Loaded late: most commands need none.
        from smartmob_agent.client.websockets import WebSockets

        return WebSockets(address, token=token, tls=tls)

    async with (
        open_transport(address, token=token, tls=tls, timeout=timeout) as transport,
        open_over(transport, make_sockets, patience=patience) as client,
    ):
        yield client


@asynccontextmanager
async def open_over(
    requests: Requests, make_sockets: Callable[[], Sockets], *, patience: float
) -> AsyncGenerator[Client]:
    """Have a client with whatever network; what is raised inside comes out without a group."""
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield Client(nursery, requests, make_sockets, patience=patience)
        except Exception as exc:  # noqa: BLE001 -- raised below
            error = exc
        nursery.cancel_scope.cancel(reason="the client is closed")
    if error is not None:
        raise error
