"""gzip in bounded memory."""

from __future__ import annotations

import zlib

import pytest

from smartmob_agent.source.gunzip import Gunzip


@pytest.mark.parametrize("size", [10, 1000, 100_000])
def test_gunzip_hands_out_no_more_than_it_is_asked_for(size: int) -> None:
    """Also when zlib has more, but no input left."""
    gunzip = Gunzip()
    total = len(gunzip.decompress(zlib.compress(bytes(100_000), wbits=31), size))
    while not gunzip.eof:
        piece = gunzip.decompress(b"", size)
        assert len(piece) <= size
        total += len(piece)
    assert total == 100_000


@pytest.mark.parametrize("size", [1, 7, 100])
def test_gunzip_needs_no_input_while_it_has_output(size: int) -> None:
    """Else the end of a stream that is on its way would get lost."""
    gunzip = Gunzip()
    without_trailer = zlib.compress(bytes(5000), wbits=31)[:-8]
    total = len(gunzip.decompress(without_trailer, size))
    while not gunzip.needs_input:
        total += len(gunzip.decompress(b"", size))
    assert total == 5000
