"""What containment costs, beside a bare `subprocess.Popen` in the same run.

    python bench/spawn.py [--repeats N] [--processes N]

Prints a table: spawn to the first instruction of the child, memory of the guard for each
process, time from SIGKILL of the agent until nothing is left, and how long the event loop is
held up.  Variants take turns, so that noise meets all of them.  Linux only.
"""

from __future__ import annotations

import argparse
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from smartmob_agent.child.guarded import GuardedSpawner, open_spawner
from smartmob_agent.child.kernel import children
from smartmob_agent.child.spawn import Command

# Tells the clock as its first act; C starts in less time than what is measured.
CHILD = """
#include <stdio.h>
#include <time.h>
int main(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    dprintf(1, "%ld\\n", now.tv_sec * 1000000000L + now.tv_nsec);
    return 0;
}
"""


def build(directory: Path) -> str:
    """Compile the child."""
    source = directory / "child.c"
    source.write_text(f"#include <unistd.h>\n{CHILD}")
    program = directory / "child"
    subprocess.run(["cc", "-O2", "-w", "-o", program, source], check=True)
    return str(program)


def popen(program: str) -> float:
    """Milliseconds from the call to the first instruction."""
    start = time.monotonic_ns()
    with subprocess.Popen(
        [program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout
        return (int(process.stdout.read()) - start) / 1e6


async def by_popen(program: str) -> float:
    """As the others are called."""
    await trio.lowlevel.checkpoint()
    return popen(program)


def by(spawner: GuardedSpawner) -> Callable[[str], Awaitable[float]]:
    """The same with the guard."""

    async def spawn(program: str) -> float:
        start = time.monotonic_ns()
        child = await spawner.spawn(Command(argv=(program,), env={}, cwd=Path("/")))
        data = b"".join([data async for data in child.stdout])
        await child.wait_empty()
        child.close_pipes()
        return (int(data) - start) / 1e6

    return spawn


async def compare_spawns(program: str, repeats: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with open_spawner() as tree, open_spawner(isolation="pid") as isolated:
        variants = {"Popen": by_popen, "tree": by(tree), "pid-namespace": by(isolated)}
        for _ in range(repeats):
            for name, spawn in variants.items():
                found.setdefault(name, []).append(await spawn(program))
    return found


async def weigh_shims(count: int) -> float:
    """Mebibytes (USS) of the guard for each process."""
    sleeper = Command(argv=("/bin/sleep", "1000"), env={}, cwd=Path("/"))
    async with open_spawner() as spawner:
        kept = [await spawner.spawn(sleeper) for _ in range(count)]
        (zygote,) = children(os.getpid())
        used = [shim for shim in children(zygote) if is_used(shim)]
        assert len(used) == len(kept)
        return sum(uss(shim) for shim in used) / len(used)


def is_used(shim: int) -> bool:
    """Whether it has an app that runs, unlike the one in store."""
    return any(b"guard.py" not in command(app) for app in children(shim))


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def uss(pid: int) -> float:
    """Mebibytes that a process has for itself."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    private = (line.split() for line in lines if line.startswith("Private_"))
    return sum(int(size) for _, size, _ in private) / 1024


class Turns(trio.abc.Instrument):
    """Milliseconds of each turn of the event loop, as our thread ran; so others do not count."""

    def __init__(self) -> None:
        self.start = time.thread_time()
        self.taken: list[float] = []

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  trio's signature
        self.start = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  trio's signature
        self.taken.append((time.thread_time() - self.start) * 1e3)


async def hold_up(program: str, repeats: int) -> list[float]:
    """Milliseconds of the turns of the event loop while a large agent spawns."""
    ballast = bytearray(os.urandom(1 << 20) * 400)
    turns = Turns()
    async with open_spawner() as spawner:
        spawn = by(spawner)
        trio.lowlevel.add_instrument(turns)
        for _ in range(repeats):
            await spawn(program)
        trio.lowlevel.remove_instrument(turns)
    del ballast
    return turns.taken


async def be_agent(count: int) -> None:
    """Start so many apps, tell it, and wait to be killed."""
    sleeper = Command(argv=("/bin/sleep", "1000"), env={}, cwd=Path("/"))
    async with open_spawner() as spawner:
        kept = [await spawner.spawn(sleeper) for _ in range(count)]
        sys.stdout.write(f"{len(kept)}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


def kill_agent(count: int) -> float:
    """Milliseconds from SIGKILL of an agent until nothing of it is left."""
    argv = [sys.executable, __file__, "--agent", str(count)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (zygote,) = children(process.pid)
        shims = children(zygote)
        below = [app for shim in shims for app in children(shim)]
        pidfds = [os.pidfd_open(pid) for pid in (zygote, *shims, *below)]
        start = time.perf_counter()
        process.kill()
        for pidfd in pidfds:
            select.select([pidfd], [], [])
        taken = time.perf_counter() - start
        for pidfd in pidfds:
            os.close(pidfd)
    return taken * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--processes", type=int, default=300)
    parser.add_argument("--agent", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.agent:
        trio.run(be_agent, options.agent)
        return
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        spawns = trio.run(compare_spawns, program, options.repeats)
        turns = trio.run(hold_up, program, options.repeats)
    least = statistics.median(spawns["Popen"])
    print("spawn to first instruction, ms: median (times Popen), 95 %")
    for name, times in spawns.items():
        median, high = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"  {name:14} {median:6.2f} ({median / least:.1f})  {high:6.2f}")
    print(f"memory of the guard for a process, MiB: {trio.run(weigh_shims, 50):.2f}")
    ends = [kill_agent(options.processes) for _ in range(5)]
    print(
        f"SIGKILL of an agent with {options.processes} processes to nothing left, ms: "
        f"{statistics.median(ends):.0f} (most {max(ends):.0f})"
    )
    print(
        f"turn of the event loop of an agent with 400 MiB, ms: "
        f"median {statistics.median(turns):.2f}, 99 % {statistics.quantiles(turns, n=100)[-1]:.2f}"
    )


if __name__ == "__main__":
    main()
