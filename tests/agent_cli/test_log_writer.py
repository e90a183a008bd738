"""Lines for a descriptor that nobody reads, reads late, or reads no more."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from smartmob_agent.agent_cli.log_writer import LogWriter

LIMIT = 20.0
"""Seconds for what has to happen, generously."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A small pipe that nobody reads yet."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:  # closed by the test
            continue


def open_writer(fd: int, queue_bytes: int = 10_000) -> LogWriter:
    return LogWriter(fd, describe_loss=lambda count: b"lost %d\n" % count, queue_bytes=queue_bytes)


def read_lines(fd: int, last: bytes) -> list[bytes]:
    """Read until a line comes."""
    data = b""
    while not data.endswith(last + b"\n"):
        data += os.read(fd, 65536)
    return data.splitlines()


def test_lines_come_in_order(pipe: tuple[int, int]) -> None:
    writer = open_writer(pipe[1])
    for number in range(100):
        writer.write(b"%d\n" % number)
    assert writer.flush(LIMIT)
    assert read_lines(pipe[0], b"99") == [b"%d" % number for number in range(100)]
    writer.close(LIMIT)


def test_what_does_not_fit_is_counted_and_told_when_somebody_reads(pipe: tuple[int, int]) -> None:
    """Who writes never waits; each line is there or is counted."""
    writer, line = open_writer(pipe[1]), b"x" * 99 + b"\n"
    for _ in range(1000):
        writer.write(line)
    assert not writer.flush(0)
    data = b""
    while b"lost " not in data or not data.endswith(b"\n"):
        data += os.read(pipe[0], 65536)
    *kept, told = data.splitlines()
    assert {*kept} == {line.strip()}
    assert len(kept) + int(told.split()[1]) == 1000
    writer.write(b"later\n")
    assert read_lines(pipe[0], b"later") == [b"later"]
    writer.close(LIMIT)


def test_a_non_blocking_descriptor_is_waited_for(pipe: tuple[int, int]) -> None:
    """Whoever shares a terminal may have made it one."""
    os.set_blocking(pipe[1], False)
    writer = open_writer(pipe[1])
    for _ in range(90):
        writer.write(b"x" * 99 + b"\n")
    writer.write(b"last\n")
    assert len(read_lines(pipe[0], b"last")) == 91
    writer.close(LIMIT)


def test_a_reader_that_has_gone_stops_nothing(pipe: tuple[int, int]) -> None:
    """What could not be written is told once there is somebody again."""
    reader, fd = pipe
    os.close(reader)
    writer = open_writer(fd)
    writer.write(b"1\n")
    assert writer.flush(LIMIT)
    reader, other = os.pipe()
    os.dup2(other, fd)
    os.close(other)
    writer.write(b"2\n")
    assert read_lines(reader, b"lost 1") == [b"2", b"lost 1"]
    writer.close(LIMIT)
    os.close(reader)


def test_a_line_longer_than_the_queue_is_written(pipe: tuple[int, int]) -> None:
    """When no other waits before it."""
    writer = open_writer(pipe[1])
    writer.write(b"x" * 20_000 + b"\n")
    assert read_lines(pipe[0], b"x") == [b"x" * 20_000]
    writer.close(LIMIT)


def test_the_end_does_not_wait_for_a_reader(pipe: tuple[int, int]) -> None:
    """What was taken is still written, and what comes after the end is not taken."""
    writer = open_writer(pipe[1])
    for _ in range(90):
        writer.write(b"x" * 99 + b"\n")
    writer.close(0)
    writer.write(b"too late\n")
    data = b""
    while len(data) < 9000:
        data += os.read(pipe[0], 65536)
    assert data.startswith((b"x" * 99 + b"\n") * 90)
