"""Agents that are killed while they write to a cache leave it whole."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from smartmob_agent.source.cache.archive_dir import ArchiveDir
from smartmob_agent.source.disk.owned_dir import PREFIX, remove_dead

KEEPER = Path(__file__).with_name("keeper.py")


def proceed() -> None:
    """Check nothing."""


@pytest.mark.slow
def test_a_cache_is_whole_whenever_its_agents_are_killed(tmp_path: Path) -> None:
    """Two at a time write to it, until SIGKILL after some of their steps."""
    for seed in range(4):
        steps = random.Random(seed).randrange(5, 200)
        keepers = [
            subprocess.Popen(
                [sys.executable, KEEPER, tmp_path, str(2 * seed + n)], stdout=subprocess.PIPE
            )
            for n in range(2)
        ]
        try:
            for keeper in keepers:
                assert keeper.stdout is not None
                for _ in range(steps):
                    assert keeper.stdout.readline() == b"step\n"
        finally:
            for keeper in keepers:
                keeper.kill()
                keeper.communicate()
        assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 2
        remove_dead(tmp_path, proceed)
        check(tmp_path)


def check(directory: Path) -> None:
    """All that is left is whole, and the next agent finds it."""
    archives = ArchiveDir(directory=directory, limit_bytes=1024 * 1024)
    archives.prepare()
    assert {path.name for path in directory.iterdir()} == {"downloads", "uploads", "urls"}
    paths = [*directory.glob("downloads/*"), *directory.glob("uploads/*")]
    assert paths
    for path in paths:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        lock = archives.find(path.name, proceed)
        assert lock is not None
        lock.release()
    archives.recall("http://h/")
    archives.trim()
