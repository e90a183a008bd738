"""Breaks the code in named ways, on a copy of it, and shows which test catches each.

    python -m tests.mutations                 all of them; takes a few minutes
    python -m tests.mutations "lost kill" …   some

A test that cannot be run catches nothing: before anything is broken, all tests that are needed must
pass on a copy, and what is caught is a test that fails or hangs, not one that is missing.

The exit code is 1 when one of them is not caught.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import attrs

__all__ = ["MUTATIONS", "Mutation", "UnusableTestError", "judge", "main"]

ROOT = Path(__file__).parents[1]
COPIED = ("smartmob_agent", "tests", "pytest.ini", "pyproject.toml")
HANG_LIMIT = 15
"""Seconds for one test; what hangs is caught, too, and tells by `HANG` on its standard error."""
HANG = "Timeout (0:"
LIMIT = 120
"""Seconds for all tests of a mutation; one after the other they may take long on a busy machine."""
CONTROL_LIMIT = 900
"""Seconds for all tests of all mutations."""


CHECKPOINTS = (
    "tests/determinism/test_checkpoints.py::test_a_cancellation_leaves_nothing_wherever_it_comes"
)


@attrs.frozen
class Mutation:
    """A way to break the code: `old`, which is there once, becomes `new`.

    scenario: of tests/determinism, cancelled at each checkpoint; or
    test: what is to catch it.
    hang_limit: seconds for one test, where it cleans up in a longer time.
    """

    name: str
    old: str
    new: str
    scenario: str = ""
    test: str = ""
    hang_limit: int = HANG_LIMIT

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


class UnusableTestError(Exception):
    """A test says nothing about a mutation: it is missing, broken, or fails without it."""


@contextmanager
def copied() -> Iterator[Path]:
    """Make a copy of the package and its tests."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as place:
        copy = Path(place)
        copy.chmod(0o755)  # Some tests have agents of ordinary users.
        for name in COPIED:
            path = ROOT / name
            ignore = shutil.ignore_patterns("__pycache__")
            if path.is_dir():
                shutil.copytree(path, copy / name, ignore=ignore)
            else:
                shutil.copy(path, copy / name)
        yield copy


def try_one(mutation: Mutation) -> str | None:
    """Return which test has caught it; None if none has."""
    with copied() as copy:
        mutation.apply(copy / "smartmob_agent")
        options = ["-x", "-o", f"faulthandler_timeout={mutation.hang_limit}"]
        return judge(run_tests(copy, [*options, mutation.tests], LIMIT))


def run_control(mutations: Iterable[Mutation]) -> int:
    """Run all tests that the mutations need on a copy that is whole; return how many sets.

    Raises `UnusableTestError` unless all of them pass.
    """
    tests = sorted({mutation.tests for mutation in mutations})
    with copied() as copy:
        result = run_tests(copy, [f"--numprocesses={os.cpu_count()}", *tests], CONTROL_LIMIT)
    if result.returncode:
        raise UnusableTestError(f"without any mutation:\n{result.stdout}{result.stderr}")
    return len(tests)


def run_tests(
    copy: Path, arguments: Sequence[str], limit: float
) -> subprocess.CompletedProcess[str]:
    options = ["-v", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    env = {**os.environ, "PYTHONPATH": os.fspath(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=copy, env=env, capture_output=True, text=True, timeout=limit, check=False
    )


def judge(result: subprocess.CompletedProcess[str]) -> str | None:
    """Return which test has failed, or hung; None if all passed.

    Raises `UnusableTestError` if pytest came to no verdict: its other exit codes (2 to 5) and
    errors outside of tests, as in a module that cannot be imported or a fixture.
    """
    if not result.returncode:
        return None
    lines = result.stdout.splitlines()
    failed = [line for line in lines if line.startswith("FAILED tests")]
    if result.returncode == 1 and failed:
        return failed[0].split(" - ")[0].split(" ", 1)[1]
    # Whoever looks at the frames of a task that never rests may fall: faulthandler takes no lock.
    if result.returncode in (1, -signal.SIGSEGV) and HANG in result.stderr:
        return f"{lines[-1].strip()} (hangs)"
    raise UnusableTestError(f"exit code {result.returncode}:\n{result.stdout}{result.stderr}")


def main(names: Sequence[str]) -> int:
    if unknown := {*names} - {one.name for one in MUTATIONS}:
        raise SystemExit(f"expected names of mutations.toml, found {sorted(unknown)}")
    chosen = [one for one in MUTATIONS if not names or one.name in names]
    began, missed = time.perf_counter(), 0
    print(f"control: {run_control(chosen)} sets of tests pass", flush=True)  # noqa: T201
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mutation, caught in zip(chosen, pool.map(try_one, chosen), strict=True):
            missed += caught is None
            print(f"{mutation.name:45} {caught or 'NOT CAUGHT'}", flush=True)  # noqa: T201
    seconds = time.perf_counter() - began
    print(f"{len(chosen) - missed} of {len(chosen)} caught in {seconds:.0f} s")  # noqa: T201
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
