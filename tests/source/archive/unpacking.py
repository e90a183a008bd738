"""Unpacking for tests: bytes in, a directory out."""

from __future__ import annotations

import stat
from pathlib import Path

from smartmob_agent.config.settings import SourceLimits
from smartmob_agent.source.archive.unpack import unpack

LIMITS = SourceLimits(
    members=50, unpacked_bytes=1_000_000, path_bytes=300, path_depth=5, archive_bytes=1_000_000
)


def unpack_bytes(data: bytes, tmp_path: Path, limits: SourceLimits = LIMITS) -> Path:
    """Unpack into `outer/app` below an empty directory; return that."""
    archive, app = tmp_path / "archive", tmp_path / "outer" / "app"
    archive.write_bytes(data)
    app.mkdir(parents=True)
    unpack(archive, app, limits, lambda: None)
    return app


def tree(app: Path) -> dict[str, object]:
    """Path → mode and content, target, or mode of a directory."""
    found: dict[str, object] = {}
    for path in sorted(app.rglob("*")):
        name = str(path.relative_to(app))
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            found[name] = mode
        else:
            found[name] = (mode, path.read_bytes())
    return found
