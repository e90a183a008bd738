"""Frames are what a WebSocket client of others reads back."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from smartmob_agent.output.frames import text_frames


def read_back(data: bytes) -> list[bytes]:
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    lines, line = [], ""
    for event in client.events():
        assert isinstance(event, TextMessage)
        line += event.data
        if event.message_finished:
            lines.append(line.encode())
            line = ""
    return lines


@given(st.lists(st.text().map(str.encode)))
def test_each_line_is_a_text_frame(lines: list[bytes]) -> None:
    assert read_back(text_frames(lines)) == lines


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_each_form_of_length_is_right(size: int) -> None:
    """RFC 6455, section 5.2: 7 bits, 16 bits, 64 bits."""
    lines = [b"x" * size, b"next"]
    assert read_back(text_frames(lines)) == lines
