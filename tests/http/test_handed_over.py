"""Sockets that were handed over, with real ones."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from smartmob_agent.config.settings import AgentConfig, Security
from smartmob_agent.errors import StartError
from smartmob_agent.http.listeners import find_handed_over, open_listeners


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ()),
        ({"LISTEN_PID": "42", "LISTEN_FDS": "2"}, (3, 4)),
        ({"LISTEN_PID": "42", "LISTEN_FDS": "0"}, ()),
        ({"LISTEN_PID": "42", "LISTEN_FDS": "x"}, ()),
        ({"LISTEN_PID": "42"}, ()),
        ({"LISTEN_PID": "41", "LISTEN_FDS": "2"}, ()),
        ({"LISTEN_FDS": "2"}, ()),
    ],
)
def test_descriptors_for_this_process(environ: dict[str, str], expected: tuple[int, ...]) -> None:
    """Those for another process are not ours, see sd_listen_fds(3)."""
    assert find_handed_over(environ, 42) == expected


async def test_they_are_listened_on(tmp_path: Path) -> None:
    """In place of host and port; their file stays, as it is not ours."""
    path = tmp_path / "systemd.sock"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        urls = [f"http://127.0.0.1:{tcp.getsockname()[1]}", f"unix:{path}"]
        descriptors = tuple(os.dup(sock.fileno()) for sock in (tcp, unix))
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        config = AgentConfig(host="0.0.0.0", descriptors=descriptors)
        async with open_listeners(config) as listeners:
            assert [listener.url for listener in listeners] == urls
            assert not any(map(os.get_inheritable, descriptors))
    assert path.exists()


def make_descriptor(kind: str) -> int:
    """A descriptor that is not fit; its taker closes it."""
    if kind == "closed":
        return 1_000_000
    if kind == "file":
        return os.open(os.devnull, os.O_RDONLY)
    type_ = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
    return socket.socket(socket.AF_UNIX, type_).detach()


@pytest.mark.parametrize("kind", ["closed", "file", "datagram", "bound to nothing"])
async def test_what_is_no_listening_socket_is_refused(kind: str) -> None:
    """One line says which descriptor."""
    descriptor = make_descriptor(kind)
    with pytest.raises(StartError, match=f"cannot listen on descriptor {descriptor}: "):
        async with open_listeners(AgentConfig(descriptors=(descriptor,))):
            pass
    if kind == "file":
        os.close(descriptor)


async def test_one_that_others_can_reach_needs_credentials() -> None:
    """As a host that one gives by hand."""
    with socket.create_server(("0.0.0.0", 0)) as tcp:
        for insist in (False, True):
            descriptor = os.dup(tcp.fileno())
            security = Security(insecure_no_auth=insist)
            config = AgentConfig(descriptors=(descriptor,), security=security)
            if insist:
                async with open_listeners(config) as listeners:
                    assert listeners[0].url.startswith("http://0.0.0.0:")
            else:
                with pytest.raises(StartError, match="--token-file"):
                    async with open_listeners(config):
                        pass
