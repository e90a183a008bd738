"""The real network of the machine and the fake one: held to the same promises."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from smartmob_agent.process.network import LocalNetwork, Loopback, ProbeError
from smartmob_agent.testing import FakeNetwork

LIMIT = 30.0
FAMILIES = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6, "0.0.0.0": socket.AF_INET}


def listen(address: str, port: int = 0) -> socket.socket:
    """A socket that listens and has a port that is free on all addresses."""
    listener = socket.socket(FAMILIES[address])
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError:
        listener.close()
        pytest.skip(f"no address {address} here")
    listener.listen()
    return listener


def free_port() -> int:
    with listen("127.0.0.1") as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.mark.parametrize("address", FAMILIES)
def test_a_port_with_a_listener_is_not_free(address: str) -> None:
    with listen(address) as listener:
        assert not Loopback().is_free(listener.getsockname()[1])


def test_a_port_that_is_shared_is_not_free() -> None:
    """By SO_REUSEPORT, as some servers have it."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not Loopback().is_free(listener.getsockname()[1])


def test_a_port_whose_connections_have_ended_is_free() -> None:
    """They linger in TIME_WAIT, at the end that closed first."""
    with listen("127.0.0.1") as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client:
            server, _ = listener.accept()
            server.close()
            assert client.recv(1) == b""
    assert Loopback().is_free(address[1])


async def answer(stream: trio.SocketStream, reply: bytes) -> None:
    async with stream:
        await stream.receive_some(65536)
        await stream.send_all(reply)


@asynccontextmanager
async def serve(address: str, reply: bytes) -> AsyncIterator[int]:
    """Answer each connection; yield the port."""
    with listen(address) as listener:
        trio_listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, partial(answer, reply=reply), [trio_listener])
            yield listener.getsockname()[1]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("address", FAMILIES)
async def test_a_path_is_asked_for_where_somebody_listens(address: str) -> None:
    reply = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"
    with trio.fail_after(LIMIT):
        async with serve(address, reply) as port:
            await Loopback().connect(port)
            assert await Loopback().get(port, "/health?deep=1") == 302


async def test_what_is_not_http_is_told() -> None:
    with trio.fail_after(LIMIT):
        async with serve("127.0.0.1", b"220 mail.example ESMTP\r\n") as port:
            with pytest.raises(ProbeError, match="no answer in HTTP"):
                await Loopback().get(port, "/")


@pytest.mark.parametrize("make", [Loopback, lambda: FakeNetwork(refuses=True)])
async def test_nobody_listens(make: Callable[[], LocalNetwork]) -> None:
    network, port = make(), free_port()
    with trio.fail_after(LIMIT):
        with pytest.raises(ProbeError, match="connection refused"):
            await network.connect(port)
        with pytest.raises(ProbeError, match="connection refused"):
            await network.get(port, "/")


@pytest.mark.parametrize("make", [Loopback, FakeNetwork])
async def test_each_child_has_a_socket_of_its_own(make: Callable[[], LocalNetwork]) -> None:
    network = make()
    async with network.open_notifications() as one, network.open_notifications() as two:
        assert one.address.startswith("@")
        assert one.address != two.address


async def test_only_ready_is_ready() -> None:
    with trio.fail_after(LIMIT):
        async with Loopback().open_notifications() as notifications, trio.open_nursery() as nursery:
            ready = trio.Event()

            async def wait() -> None:
                await notifications.wait_ready()
                ready.set()

            nursery.start_soon(wait)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect("\0" + notifications.address[1:])
                for message in (b"STATUS=READY=1", b"READY=0", b"", b"\xff" * 5000):
                    sender.send(message)
                    await trio.testing.wait_all_tasks_blocked()
                    assert not ready.is_set()
                sender.send(b"STATUS=up\nREADY=1\nMAINPID=1")
                await ready.wait()


@pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_the_other_family_counts(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """A kernel may know of it and have no address, or know nothing of it."""

    class OldSocket(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(error, "no IPv6")
            super().bind(address)

    monkeypatch.setattr("smartmob_agent.process.network.socket.socket", OldSocket)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not Loopback().is_free(port)
    assert Loopback().is_free(port)
