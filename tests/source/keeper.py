"""A program that keeps, finds and removes archives until it is killed: for `test_killed.py`.

    python keeper.py DIRECTORY SEED

It writes a line for each step.
"""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

from smartmob_agent.source.cache.archive_dir import ArchiveDir
from smartmob_agent.source.cache.etags import KnownETag
from smartmob_agent.source.disk.owned_dir import open_owned_dir

PIECE_BYTES = 16 * 1024


def proceed() -> None:
    """Check nothing."""


def step() -> None:
    sys.stdout.write("step\n")
    sys.stdout.flush()


def main(directory: Path, seed: int) -> None:
    choose = random.Random(seed)
    archives = ArchiveDir(directory=directory, limit_bytes=1024 * 1024)
    archives.prepare()
    with open_owned_dir(directory) as own:
        while True:
            content = bytes([choose.randrange(8)]) * choose.randrange(400_000)
            sha256, part = hashlib.sha256(content).hexdigest(), own / "part"
            with part.open("wb") as file:
                for start in range(0, len(content), PIECE_BYTES):
                    file.write(content[start : start + PIECE_BYTES])
                    step()
            lock = archives.keep(part, sha256, proceed, uploaded=choose.random() < 0.5)
            step()
            archives.remember("http://h/", KnownETag(sha256=sha256, etag='"1"'), own / "known")
            step()
            lock.release()
            archives.trim()
            step()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
