"""The splitter gives the same lines as a naive reference, however bytes come."""

from __future__ import annotations

import itertools

from hypothesis import given, strategies as st

from smartmob_agent.output.lines import LineSplitter

BYTES = st.lists(
    st.sampled_from(
        [
            *(b"\n", b"\r", b"\r\n", b"\0", b"a", b"bcdefgh"),
            *("é".encode(), "€".encode(), "😀".encode()),
            *(b"\xff", b"\xf0\x9f", b"\x80", b"\xed\xa0\x80", b"\xe2\x82"),
        ]
    )
).map(b"".join) | st.binary(max_size=64)


def reference(data: bytes, max_bytes: int) -> list[bytes]:
    *ended, rest = data.split(b"\n")
    lines = [line.removesuffix(b"\r") for line in ended] + ([rest] if rest else [])
    pieces = []
    for line in lines:
        piece = b""
        for char in line.decode("utf-8", "replace"):
            if len(piece) + len(char.encode()) > max_bytes:
                pieces.append(piece)
                piece = b""
            piece += char.encode()
        pieces.append(piece)
    return pieces


def split(chunks: list[bytes], max_bytes: int) -> list[bytes]:
    splitter = LineSplitter(max_bytes)
    text = b"".join(map(splitter.feed, chunks)) + splitter.finish()
    *lines, rest = text.split(b"\n")
    assert rest == b"", "each line is ended"
    return lines


@given(data=BYTES, cuts=st.lists(st.integers(0, 80)), max_bytes=st.integers(4, 12))
def test_any_chunking_gives_the_lines_of_the_reference(
    data: bytes, cuts: list[int], max_bytes: int
) -> None:
    """Neither characters nor line ends nor pieces depend on where a read ends."""
    ends = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    chunks = [data[a:b] for a, b in itertools.pairwise(ends)]
    assert split(chunks, max_bytes) == reference(data, max_bytes)


def test_a_carriage_return_that_ends_no_line_stays() -> None:
    assert split([b"50%\r100%\r", b"\nend\r"], 64) == [b"50%\r100%", b"end\r"]


def test_empty_lines_are_lines() -> None:
    assert split([b"\n\r\n\n"], 64) == [b"", b"", b""]


def test_nothing_gives_no_line() -> None:
    assert split([b"", b""], 64) == []


def test_a_line_of_just_the_limit_is_one_piece() -> None:
    assert split([b"x" * 8 + b"\r", b"\n"], 8) == [b"x" * 8]


def test_an_endless_line_takes_bounded_memory() -> None:
    """200 MiB without a line end: what is kept never exceeds the limit by much."""
    splitter = LineSplitter(65536)
    chunk = b"x" * 65536
    pieces = 0
    for _ in range(3200):
        pieces += splitter.feed(chunk).count(b"\n")
        assert splitter._long is None or len(splitter._long._text) <= 65537
    assert pieces + splitter.finish().count(b"\n") == 3200


def test_many_short_lines_in_a_large_chunk_stay_as_they_are() -> None:
    lines = [b"%d" % number for number in range(1000)]
    assert split([b"\n".join(lines) + b"\n"], 16) == lines


def test_one_long_line_among_short_ones_is_found() -> None:
    text = b"a\n" * 20 + b"x" * 17 + b"\n" + b"a\n" * 20
    assert split([text], 16) == [b"a"] * 20 + [b"x" * 16, b"x"] + [b"a"] * 20
