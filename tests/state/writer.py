"""A program that changes documents until it is killed: for `test_killed.py`.

    python writer.py DIRECTORY SEED

It writes a line before each change, ``NAME NUMBER`` or ``NAME -`` for a deletion, and the line
``NAME`` when it is kept.
"""

from __future__ import annotations

import os
import random
import sys
from functools import partial
from pathlib import Path

import trio

from smartmob_agent.state.seam import StateStore
from smartmob_agent.state.sqlite_store import open_sqlite_store

WRITERS = 6


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def change_one(store: StateStore, name: str, revision: int, choose: random.Random) -> None:
    while True:
        if revision and choose.random() < 0.4:
            say(f"{name} -")
            await store.compare_and_set(("process", name), None, expected=revision)
            revision = 0
        else:
            number = choose.randrange(1_000_000)
            value = {"n": number, "pad": "x" * choose.randrange(4000)}
            say(f"{name} {number}")
            revision = await store.compare_and_set(("process", name), value, expected=revision)
        say(name)


async def main(directory: Path, seed: int) -> None:
    async with open_sqlite_store(directory) as store, trio.open_nursery() as nursery:
        snapshot = await store.read_all()
        revisions = {one.key[1]: one.revision for one in snapshot.documents}
        for number in range(WRITERS):
            name, choose = f"hello.web.{number}", random.Random(f"{seed} {number}")
            nursery.start_soon(
                partial(change_one, store, name, revisions.get(name, 0), choose), name=name
            )


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
