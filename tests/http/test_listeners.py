"""Listening sockets, with real ones."""

from __future__ import annotations

import errno
import socket
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from smartmob_agent.config.settings import AgentConfig, HttpLimits
from smartmob_agent.errors import StartError
from smartmob_agent.http import listeners as listeners_module
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.extensions import get_client_link
from smartmob_agent.http.listeners import open_listeners
from smartmob_agent.http.server import serve_http
from tests.http.memory import Client, hello

TIME_LIMIT = 30


async def fetch(connect: Callable[[], Any]) -> bytes:
    """Make one request."""
    with trio.fail_after(TIME_LIMIT):
        stream = await connect()
        async with stream:
            return (await Client(stream).request())[1]


async def served(config: AgentConfig, *connects: Callable[[list[str]], Any]) -> list[bytes]:
    """Serve; return what each way to connect gets."""
    stop = trio.Event()
    async with open_listeners(config) as listeners:
        urls = [listener.url for listener in listeners]
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(
                    serve_http,
                    hello,
                    listeners,
                    limits=HttpLimits(),
                    bodies=Bodies(HttpLimits()),
                    stop=stop,
                )
            )
            bodies = [await fetch(partial(connect, urls)) for connect in connects]
            stop.set()
    return bodies


async def read_to_end(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


async def test_a_free_port_and_a_unix_socket(tmp_path: Path) -> None:
    """The URL has the real port; the socket is the user's own, and goes at exit."""
    path = tmp_path / "agent.sock"
    modes = []

    async def by_unix(urls: list[str]) -> trio.SocketStream:
        assert urls[1] == f"unix:{path}"
        modes.append(stat.S_IMODE(path.stat().st_mode))
        return await trio.open_unix_socket(path)

    async def by_tcp(urls: list[str]) -> trio.SocketStream:
        assert urls[0].startswith("http://127.0.0.1:")
        return await trio.open_tcp_stream("127.0.0.1", port_of(urls[0]))

    bodies = await served(AgentConfig(port=0, unix=path), by_tcp, by_unix)
    assert (bodies, modes, path.exists()) == ([b"hello "] * 2, [0o600], False)


async def test_a_name_is_bound_at_each_of_its_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the same port; an address that the machine lacks is left out."""
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    async with open_listeners(AgentConfig(host="agent", port=0)) as listeners:
        urls = [listener.url for listener in listeners]
    port = port_of(urls[0])
    assert urls == [f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}"]


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
async def test_ipv6() -> None:
    """The URL has brackets."""

    async def connect(urls: list[str]) -> trio.SocketStream:
        assert urls[0].startswith("http://[::1]:")
        return await trio.open_tcp_stream("::1", port_of(urls[0]))

    assert await served(AgentConfig(host="::1", port=0), connect) == [b"hello "]


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", "cannot listen on 192.0.2.1:0: Cannot assign requested address"),
        ("a" * 70, f"cannot listen on {'a' * 70}:0: not a name of a host"),
    ],
)
async def test_a_host_that_cannot_be_bound(host: str, message: str) -> None:
    """One line says so."""
    with pytest.raises(StartError) as caught:
        async with open_listeners(AgentConfig(host=host, port=0)):
            pass
    assert str(caught.value) == message


async def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the resolver says is passed on."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(StartError) as caught:
        async with open_listeners(AgentConfig(host="a.example")):
            pass
    assert str(caught.value) == "cannot listen on a.example:8080: Name or service not known"


def open_descriptors() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Nothing is left open, nor any file."""
    path = tmp_path / "agent.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = open_descriptors()
        with pytest.raises(StartError) as caught:
            async with open_listeners(AgentConfig(port=port, unix=path)):
                pass
        after = open_descriptors()
    assert str(caught.value) == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert (after - before, path.exists()) == (set(), False)


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    """That of an agent that was killed."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with open_listeners(AgentConfig(port=0, unix=path)) as listeners:
        assert listeners[1].url == f"unix:{path}"
    assert not path.exists()


@pytest.mark.parametrize("busy", [False, True])
async def test_a_socket_file_in_use_is_left_alone(tmp_path: Path, *, busy: bool) -> None:
    """Its agent may have no time to answer."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waiting:
        other.bind(str(path))
        other.listen(0)
        if busy:
            waiting.connect(str(path))
        with pytest.raises(StartError) as caught:
            async with open_listeners(AgentConfig(port=0, unix=path)):
                pass
    assert str(caught.value) == f"cannot listen on {path}: Address already in use"
    assert path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    """Whoever made it may need it."""
    path = tmp_path / "agent.sock"
    path.write_text("precious")
    with pytest.raises(StartError) as caught:
        async with open_listeners(AgentConfig(port=0, unix=path)):
            pass
    assert str(caught.value) == f"cannot listen on {path}: File exists, and is not a socket"
    assert path.read_text() == "precious"


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """This error has no text of its own in Python."""
    path = tmp_path / ("x" * 120)
    with pytest.raises(StartError) as caught:
        async with open_listeners(AgentConfig(port=0, unix=path)):
            pass
    assert str(caught.value) == f"cannot listen on {path}: AF_UNIX path too long"


async def test_the_socket_file_of_another_is_not_removed_at_exit(tmp_path: Path) -> None:
    """Someone may have put one in the place of ours."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as other:
        async with open_listeners(AgentConfig(port=0, unix=path)):
            path.unlink()
            other.bind(str(path))
    assert path.exists()


async def test_a_connection_by_a_real_socket_is_reset_by_abort() -> None:
    """What the peer has not read is dropped with it, not kept for it in the kernel."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
        get_client_link(scope).abort()

    stop = trio.Event()
    async with open_listeners(AgentConfig(port=0)) as listeners, trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                serve_http,
                app,
                listeners,
                limits=HttpLimits(),
                bodies=Bodies(HttpLimits()),
                stop=stop,
            )
        )
        with trio.fail_after(TIME_LIMIT):
            port = port_of(listeners[0].url)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                with pytest.raises(trio.BrokenResourceError) as caught:
                    await read_to_end(stream)
        stop.set()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ECONNRESET


async def test_a_look_up_that_hangs_is_an_error_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of an event loop that stands still; what comes after all is closed."""
    go, closed = threading.Event(), threading.Event()
    lookup, close = socket.getaddrinfo, listeners_module._Opened.close

    def hang(*args: Any, **options: Any) -> Any:
        go.wait(TIME_LIMIT)
        return lookup(*args, **options)

    def note(opened: Any) -> None:
        close(opened)
        closed.set()

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(listeners_module, "_OPEN_TIMEOUT", 0.05)
    monkeypatch.setattr(listeners_module._Opened, "close", note)
    before = open_descriptors()
    with pytest.raises(StartError, match=r"cannot listen on 127\.0\.0\.1:0: no answer in "):
        async with open_listeners(AgentConfig(port=0)):
            pass
    go.set()
    assert await trio.to_thread.run_sync(closed.wait, TIME_LIMIT)
    assert open_descriptors() - before == set()


async def test_a_socket_file_that_cannot_be_removed_in_time_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start replaces it."""
    go, done = threading.Event(), threading.Event()
    remove = listeners_module._remove_own

    def hang(*args: Any) -> None:
        go.wait(TIME_LIMIT)
        remove(*args)
        done.set()

    monkeypatch.setattr(listeners_module, "_remove_own", hang)
    monkeypatch.setattr(listeners_module, "_REMOVE_TIMEOUT", 0.05)
    path = tmp_path / "agent.sock"
    async with open_listeners(AgentConfig(port=0, unix=path)):
        pass
    assert path.exists()
    go.set()
    assert await trio.to_thread.run_sync(done.wait, TIME_LIMIT)
    assert not path.exists()
