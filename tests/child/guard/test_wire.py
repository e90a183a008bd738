"""Frames and lines survive however the stream cuts them."""

from __future__ import annotations

import os
import resource
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from smartmob_agent.child.guard import wire
from smartmob_agent.child.guard.wire import (
    FrameDecoder,
    Lines,
    pack,
    receive,
    receive_message,
    rehearse,
    send,
)

MESSAGES: list[dict[str, object]] = [{"argv": ["sh", "-c", "\udcff é \n"]}, {}, {"kill": 7}]


@given(st.lists(st.integers(0, 200), max_size=6))
def test_frames_come_whole_however_they_are_cut(cuts: list[int]) -> None:
    data = b"".join(pack(message) for message in MESSAGES)
    frames, found, start = FrameDecoder(), [], 0
    for end in [*sorted(cuts), len(data)]:
        found += [message for message, _ in frames.feed(data[start:end], [])]
        start = min(end, len(data))
    assert found == MESSAGES


def test_descriptors_go_with_their_frame() -> None:
    frames = FrameDecoder()
    first, second = pack({"n": 1}, fds=2), pack({"n": 2}, fds=1)
    found = [
        *frames.feed(first[:3], [10, 11]),
        *frames.feed(first[3:] + pack({"n": 0}) + second[:1], [12]),
        *frames.feed(second[1:], []),
    ]
    assert found == [({"n": 1}, [10, 11]), ({"n": 0}, []), ({"n": 2}, [12])]


@pytest.mark.parametrize("cloexec", [wire._CLOEXEC, 0])
def test_a_message_crosses_a_socket_with_its_descriptors(
    cloexec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_CLOEXEC", cloexec)
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull, "rb") as file:  # noqa: PTH123  only its number counts
        message = {"env": {"X": "x" * 10_000}}
        send(ours, message, [file.fileno()])
        received = receive_message(theirs)
        assert received is not None
        (fd,) = received[1]
        assert received[0] == message
        assert os.fstat(fd).st_rdev == os.fstat(file.fileno()).st_rdev
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_a_message_larger_than_the_socket_holds_is_sent_in_parts() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as threads:
        ours.settimeout(10)
        message = {"env": {"X": "x" * 1_000_000}}
        received = threads.submit(receive_message, theirs)
        send(ours, message, [])
        assert received.result(10) == (message, [])


def test_no_message_comes_from_a_closed_socket() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        assert receive_message(theirs) is None


def test_a_broken_socket_is_a_closed_one() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(b"unread")
        ours.close()
        assert receive(theirs) == (b"", [])


def test_what_says_nothing_of_the_other_end_is_an_error() -> None:
    """Else a zygote that is short of memory would take its agent for gone, and end all."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            receive(theirs)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_descriptors_that_do_not_all_arrive_are_none() -> None:
    """Whoever has none left gets some of them, and loses those."""
    ours, theirs = socket.socketpair()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ours, theirs:
        send(ours, {"n": 1}, [0, 0, 0])
        before = descriptors()
        # There may be holes: what started the tests may have handed down any number.
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, limits[1]))
        try:
            data, fds = receive(theirs)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert fds == [free]
        assert list(FrameDecoder().feed(data, fds)) == [({"n": 1}, [])]
        assert descriptors() == before


def descriptors() -> list[int]:
    """Our own, and that of the listing, which is the lowest that is free."""
    return sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())


def test_a_rehearsal_leaves_no_trace() -> None:
    rehearse()


def test_lines_are_a_word_and_its_rest() -> None:
    lines = Lines()
    found = [*lines.feed(b"started 1"), *lines.feed(b"2\nempty\nle"), *lines.feed(b"ft 1 2\n")]
    assert found == [("started", "12"), ("empty", ""), ("left", "1 2")]
