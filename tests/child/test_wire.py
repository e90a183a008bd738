"""Frames and lines survive however the stream cuts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartmob_agent.child.wire import Frames, Lines, pack

MESSAGES: list[dict[str, object]] = [{"argv": ["sh", "-c", "\udcff é \n"]}, {}, {"kill": 7}]


@given(st.lists(st.integers(0, 200), max_size=6))
def test_frames_come_whole_however_they_are_cut(cuts: list[int]) -> None:
    data = b"".join(pack(message) for message in MESSAGES)
    frames, found, start = Frames(), [], 0
    for end in [*sorted(cuts), len(data)]:
        found += [message for message, _ in frames.feed(data[start:end], [])]
        start = min(end, len(data))
    assert found == MESSAGES


def test_descriptors_go_with_their_frame() -> None:
    frames = Frames()
    first, second = pack({"n": 1}, fds=2), pack({"n": 2}, fds=1)
    found = [
        *frames.feed(first[:3], [10, 11]),
        *frames.feed(first[3:] + pack({"n": 0}) + second[:1], [12]),
        *frames.feed(second[1:], []),
    ]
    assert found == [({"n": 1}, [10, 11]), ({"n": 0}, []), ({"n": 2}, [12])]


def test_lines_are_a_word_and_its_rest() -> None:
    lines = Lines()
    found = [*lines.feed(b"started 1"), *lines.feed(b"2\nempty\nle"), *lines.feed(b"ft 1 2\n")]
    assert found == [("started", "12"), ("empty", ""), ("left", "1 2")]
