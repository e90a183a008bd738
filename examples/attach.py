"""Print what a process writes: python attach.py ws://127.0.0.1:8080/attach-console/SLUG"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)


@asynccontextmanager
async def open_console(url: str) -> AsyncGenerator[WebSocketConnection]:
    """Attach to a process; each message is a line.

    trio-websocket leaves its connection open when the server closes first, so it is ours.
    """
    where = urlsplit(url)
    stream = await trio.open_tcp_stream(where.hostname or "", where.port or 80)
    async with stream, trio.open_nursery() as nursery:
        socket = await wrap_client_stream(nursery, stream, where.netloc, where.path)
        async with socket:
            yield socket


async def attach(url: str) -> None:
    """Print the lines of a process until it is deleted, or the agent stops."""
    async with open_console(url) as console:
        try:
            while True:
                print(await console.get_message(), flush=True)
        except ConnectionClosed as closed:
            why = closed.reason
            print(f"closed: {why.code} {why.reason}" if why else "closed without a reason")


def main() -> int:
    """Run until the other side closes, or CTRL-C."""
    code = 0
    try:
        trio.run(attach, sys.argv[1])
    except* ConnectionRejected as refused:
        print(f"refused: {refused.exceptions[0]}", file=sys.stderr)
        code = 1
    except* KeyboardInterrupt:
        pass
    return code


if __name__ == "__main__":
    sys.exit(main())
