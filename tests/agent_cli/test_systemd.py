"""What systemd is told, as it would hear it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.agent_cli.systemd import Notifier, send_word
from tests.e2e.agent import LIMIT, running_agent


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + address[1:] if address.startswith("@") else address)
        sock.setblocking(False)
        yield sock


def heard(sock: socket.socket) -> list[str]:
    words = []
    try:
        while True:
            words.append(sock.recv(100).decode())
    except BlockingIOError:
        return words


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Notifier()),
        ({"NOTIFY_SOCKET": ""}, Notifier()),
        ({"NOTIFY_SOCKET": "/run/x"}, Notifier("/run/x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "30000000"}, Notifier("@x", 15.0)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "2", "WATCHDOG_PID": "8"}, Notifier("@x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "2", "WATCHDOG_PID": "7"}, Notifier("@x", 1e-6)),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"}, Notifier("@x")),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, Notifier("@x")),
    ],
)
def test_the_environment_says_who_wants_to_know(
    environ: dict[str, str], expected: Notifier
) -> None:
    assert Notifier.of(environ, 7) == expected


async def test_it_tells_of_start_life_and_stop(autojump_clock: trio.testing.MockClock) -> None:
    stop, words = trio.Event(), []

    def send(address: str, word: str) -> None:
        words.append((trio.current_time(), address, word))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Notifier("@x", 10.0, send).run, stop.wait)
        await trio.sleep(25)
        stop.set()
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert words == [
        (0, "@x", "READY=1"),
        (0, "@x", "WATCHDOG=1"),
        (10, "@x", "WATCHDOG=1"),
        (20, "@x", "WATCHDOG=1"),
        (25, "@x", "STOPPING=1"),
        (30, "@x", "WATCHDOG=1"),
    ]


@pytest.mark.parametrize("abstract", [True, False])
def test_a_word_is_a_datagram(tmp_path: Path, *, abstract: bool) -> None:
    address = f"@smartmob-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with listening(address) as sock:
        send_word(address, "READY=1")
        assert heard(sock) == ["READY=1"]


async def test_without_systemd_it_tells_nobody() -> None:
    stop = trio.Event()
    stop.set()
    await Notifier(None, 10.0).run(stop.wait)


def test_who_does_not_listen_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    send_word(str(tmp_path / "nobody"), "READY=1")
    assert [record.message for record in caplog.records] == ["cannot notify"]


@pytest.mark.slow
async def test_the_command_tells_systemd(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with listening(address) as sock:
        async with running_agent(env={"NOTIFY_SOCKET": address}) as agent:
            with trio.fail_after(LIMIT):
                await trio.lowlevel.wait_readable(sock)
            assert heard(sock) == ["READY=1"]
            await agent.stop(signal.SIGTERM)
        assert heard(sock) == ["STOPPING=1"]
