"""Archives that mean no good, unpacked directly."""

from __future__ import annotations

from pathlib import Path

import pytest

from smartmob_agent.source.archive.unpack import unpack

from .evil_archives import EVIL_ARCHIVES, LIMITS, OUTSIDE, EvilArchive


@pytest.mark.parametrize("evil", EVIL_ARCHIVES, ids=lambda evil: evil.what)
def test_an_evil_archive_is_refused(evil: EvilArchive, tmp_path: Path) -> None:
    """The error names the member, in one line, and nothing is written outside."""
    archive, app = tmp_path / "archive", tmp_path / "outer" / "app"
    app.mkdir(parents=True)
    archive.write_bytes(evil.make())
    with pytest.raises(evil.error) as info:
        unpack(archive, app, LIMITS, lambda: None)
    assert str(info.value).startswith(evil.text)
    assert str(info.value).isprintable()
    assert not Path(OUTSIDE).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "outer"]
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["app"]


def test_each_one_is_another() -> None:
    """None stands there twice."""
    assert len({evil.what for evil in EVIL_ARCHIVES}) == len(EVIL_ARCHIVES) >= 60
