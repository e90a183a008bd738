"""Breaks the code in named ways, on a copy of it, and shows which test catches each.

    python -m tests.mutations                 all of them; takes a few minutes
    python -m tests.mutations "lost kill" …   some

The exit code is 1 when one of them is not caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

__all__ = ["MUTATIONS", "Mutation"]

ROOT = Path(__file__).parents[1]
COPIED = ("smartmob_agent", "tests", "pytest.ini", "pyproject.toml")
HANG_LIMIT = 15
"""Seconds for one test; what hangs is caught, too."""
LIMIT = 60
"""Seconds for all tests of a mutation."""


CHECKPOINTS = (
    "tests/determinism/test_checkpoints.py::test_a_cancellation_leaves_nothing_wherever_it_comes"
)


@attrs.frozen
class Mutation:
    """A way to break the code: `old`, which is there once, becomes `new`.

    scenario: of tests/determinism, cancelled at each checkpoint; or
    test: what is to catch it.
    """

    name: str
    old: str
    new: str
    scenario: str = ""
    test: str = ""

    @property
    def tests(self) -> str:
        """What to run, as an argument of pytest."""
        return f"{CHECKPOINTS}[{self.scenario}]" if self.scenario else self.test

    def find(self, package: Path) -> Path:
        """Return the file in which `old` is; raises `ValueError` unless it is there once."""
        found = [
            path
            for path in sorted(package.rglob("*.py"))
            for _ in range(path.read_text(encoding="utf-8").count(self.old))
        ]
        if len(found) != 1:
            raise ValueError(f"{self.name}: expected the text once, found it {len(found)} times")
        return found[0]

    def apply(self, package: Path) -> None:
        """Break a copy of the package."""
        path = self.find(package)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def read_mutations() -> Iterator[Mutation]:
    """Read `mutations.toml`."""
    with Path(__file__).with_suffix(".toml").open("rb") as file:
        for entry in tomllib.load(file)["mutation"]:
            yield Mutation(**entry)


MUTATIONS = tuple(read_mutations())


def try_one(mutation: Mutation) -> str | None:
    """Return which test has caught it; None if none has."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as place:
        copy = Path(place)
        for name in COPIED:
            path = ROOT / name
            ignore = shutil.ignore_patterns("__pycache__")
            if path.is_dir():
                shutil.copytree(path, copy / name, ignore=ignore)
            else:
                shutil.copy(path, copy / name)
        mutation.apply(copy / "smartmob_agent")
        return run_tests(copy, mutation.tests)


def run_tests(copy: Path, tests: str) -> str | None:
    options = ["-x", "-v", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={HANG_LIMIT}"]
    command = [sys.executable, "-m", "pytest", *options, tests]
    env = {**os.environ, "PYTHONPATH": os.fspath(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        result = subprocess.run(
            command, cwd=copy, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return "all together (hang)"
    if not result.returncode:
        return None
    lines = result.stdout.splitlines()
    for line in lines:
        if line.startswith(("FAILED tests", "ERROR tests")):
            return line.split(" - ")[0].split(" ", 1)[1]
    return f"{lines[-1].strip() if lines else 'the start'} (hangs)"


def main(names: Sequence[str]) -> int:
    chosen = [one for one in MUTATIONS if not names or one.name in names]
    began, missed = time.perf_counter(), 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mutation, caught in zip(chosen, pool.map(try_one, chosen), strict=True):
            missed += caught is None
            print(f"{mutation.name:45} {caught or 'NOT CAUGHT'}", flush=True)  # noqa: T201
    seconds = time.perf_counter() - began
    print(f"{len(chosen) - missed} of {len(chosen)} caught in {seconds:.0f} s")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
