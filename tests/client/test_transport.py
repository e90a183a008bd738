"""A file as the body of a request; the rest of the transport is tested with the client."""

from __future__ import annotations

from pathlib import Path

import trio

from smartmob_agent.client.transport import FileBody


async def test_a_file_comes_in_parts_and_its_progress_is_told(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    content = b"0123456789" * 30_000
    path.write_bytes(content)
    told: list[tuple[int, int]] = []
    async with await trio.open_file(path, "rb") as file:
        body = FileBody(file, len(content), lambda read, size: told.append((read, size)))
        parts = [part async for part in body]
    assert b"".join(parts) == content
    assert told == [(262_144, 300_000), (300_000, 300_000)]
