"""What containment costs, beside a bare `subprocess.Popen` in the same run.

    python bench/spawn.py [--only PART]... [--repeats N] [--processes N]

Parts: `spawn` to the first instruction of the child, with a pause between starts, in which the
guard makes its next shim, and `burst`, each as soon as the one before has ended; `memory` of the
guard for each process; `kill` of the agent until nothing is left, and `kill1000` with a single
tree of so many; `turn` of the event loop while a large agent spawns; `bomb`, a delete over HTTP of
512 processes that fork without end, each in a session of its own, by an ordinary user; `keep`,
whether a child has its pid after 60 seconds beside an idle agent, which is left out unless it is
asked for.

Variants take turns, so that noise meets all of them.  Linux only.
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
from functools import partial
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parent.parent))

from smartmob_agent.child.guard.kernel import children
from smartmob_agent.child.seam import Command
from smartmob_agent.child.spawner import GuardedSpawner, open_spawner
from tests.e2e.agent import tar_gz
from tests.e2e.agents import as_user
from tests.e2e.sandbox import open_sandbox
from tests.e2e.served_agent import open_archive, open_command

E2E = Path(__file__).parent.parent / "tests" / "e2e"

SLEEPER = ["/bin/sleep", "1000"]
BOMB_SECONDS = 2
"""So long a bomb may grow."""

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


async def compare_spawns(
    program: str, repeats: int, *, pause: float, row: int
) -> dict[str, list[float]]:
    """Milliseconds of each variant.

    pause: seconds after each start
    row: starts of one variant, one after the other, before it is the turn of the next
    """
    found: dict[str, list[float]] = {}
    async with open_spawner() as tree, open_spawner(isolation="pid") as isolated:
        variants = {"Popen": by_popen, "tree": by(tree), "pid-namespace": by(isolated)}
        for _ in range(0, repeats, row):
            for name, spawn in variants.items():
                for _ in range(row):
                    found.setdefault(name, []).append(await spawn(program))
                    await trio.sleep(pause)
    return found


async def weigh_shims(count: int) -> float:
    """Mebibytes (USS) of the guard for each process."""
    sleeper = Command(argv=tuple(SLEEPER), env={}, cwd=Path("/"))
    async with open_spawner() as spawner:
        kept = [await spawner.spawn(sleeper) for _ in range(count)]
        (zygote,) = children(os.getpid())
        used = [shim for shim in children(zygote) if is_used(shim)]
        assert len(used) == len(kept)
        return sum(uss(shim) for shim in used) / len(used)


def is_used(shim: int) -> bool:
    """Whether it has an app that runs, unlike the one in store."""
    return any(b"guard/zygote.py" not in command(app) for app in children(shim))


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
    async with open_spawner() as spawner:
        spawn = by(spawner)
        turns = Turns()  # now: to start the guard is no part of a spawn
        trio.lowlevel.add_instrument(turns)
        for _ in range(repeats):
            await spawn(program)
        trio.lowlevel.remove_instrument(turns)
    del ballast
    return turns.taken


async def be_agent(argv: list[str], count: int) -> None:
    """Start so many apps, tell what they have written, and wait to be killed."""
    command = Command(argv=tuple(argv), env={}, cwd=Path("/"))
    async with open_spawner() as spawner:
        kept = [await spawner.spawn(command) for _ in range(count)]
        if argv != SLEEPER:  # a tree that tells when it stands
            await kept[0].stdout.receive_some()
        sys.stdout.write(f"{len(kept)}\n")
        sys.stdout.flush()
        await trio.sleep_forever()


def kill_agent(argv: list[str], count: int) -> float:
    """Milliseconds from SIGKILL of an agent until nothing of it is left."""
    agent = [sys.executable, __file__, f"--agent={count}", *argv]
    with subprocess.Popen(agent, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        below = [process.pid]
        for pid in below:  # grows meanwhile
            below += children(pid)
        pidfds = [os.pidfd_open(pid) for pid in below]
        start = time.perf_counter()
        process.kill()
        for pidfd in pidfds:
            select.select([pidfd], [], [])
        taken = time.perf_counter() - start
        for pidfd in pidfds:
            os.close(pidfd)
    return taken * 1e3


def delete_bomb(source: str) -> float:
    """Seconds from the request to delete a bomb until the answer, when nothing of it is left."""
    with open_sandbox() as sandbox:
        wrapper = as_user("ordinary")
        with open_command(sandbox, "--max-user-processes=512", wrapper=wrapper) as agent:
            before = sandbox.pids()
            slug = agent.create(source)
            time.sleep(BOMB_SECONDS)
            start = time.monotonic()
            agent.ask(f"/delete-process/{slug}", {})
            taken = time.monotonic() - start
            left = sandbox.pids() - before
            assert len(left) <= 2, left  # a shim in store, with the fork that becomes its app
            return taken


async def keep() -> bool:
    """Whether a child lives after a minute in which its agent did nothing."""
    async with open_spawner() as spawner:
        child = await spawner.spawn(Command(argv=tuple(SLEEPER), env={}, cwd=Path("/")))
        with trio.move_on_after(60) as scope:
            await child.wait()
        return scope.cancelled_caught


# What is printed


def print_spawn(options: argparse.Namespace) -> None:
    print("spawn to first instruction, 10 ms apart, ms: median (times Popen), 95 %")
    print_spawns(partial(compare_spawns, pause=0.01, row=1), options.repeats)


def print_burst(options: argparse.Namespace) -> None:
    print("spawn to first instruction, 20 in a row at once, ms: median (times Popen), 95 %")
    print_spawns(partial(compare_spawns, pause=0, row=20), options.repeats)


def print_spawns(compare: Callable[..., Awaitable[dict[str, list[float]]]], repeats: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        spawns = trio.run(compare, build(Path(directory)), repeats)
    least = statistics.median(spawns["Popen"])
    for name, times in spawns.items():
        median, high = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"  {name:14} {median:6.2f} ({median / least:.1f})  {high:6.2f}")


def print_memory(_: argparse.Namespace) -> None:
    found = trio.run(weigh_shims, 50)
    print(f"memory of the guard for a process, MB: {found * (1 << 20) / 1e6:.2f}")


def print_kill(options: argparse.Namespace) -> None:
    ends = [kill_agent(SLEEPER, options.processes) for _ in range(7)]
    print(
        f"SIGKILL of an agent with {options.processes} processes to nothing left, ms: "
        f"{statistics.median(ends):.0f} (most {max(ends):.0f})"
    )


def print_kill1000(_: argparse.Namespace) -> None:
    tree = [sys.executable, "-ISE", str(E2E / "growing_tree.py"), "1000"]
    ends = [kill_agent(tree, 1) for _ in range(5)]
    print(
        "SIGKILL of an agent with a tree of 1,000, every fifth a daemon, to nothing left, ms: "
        f"{statistics.median(ends):.0f} (most {max(ends):.0f})"
    )


def print_turn(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as directory:
        turns = trio.run(hold_up, build(Path(directory)), options.repeats)
    high = statistics.quantiles(turns, n=100)[-1]
    print(
        f"turn of the event loop of an agent with 400 MiB, ms: "
        f"median {statistics.median(turns):.2f}, 99 % {high:.2f}, most {max(turns):.2f}"
    )


def print_bomb(_: argparse.Namespace) -> None:
    procfile = f"web: exec {sys.executable} -ISE bomb.py 51200\n"
    app = tar_gz({"Procfile": procfile, "bomb.py": (E2E / "fork_bomb.py").read_text()})
    with open_archive(app) as source:
        taken = [delete_bomb(source) for _ in range(5)]
    listed = ", ".join(f"{seconds:.1f}" for seconds in sorted(taken))
    print(f"delete of a bomb of 512 processes, s: {statistics.median(taken):.1f} ({listed})")


def print_keep(_: argparse.Namespace) -> None:
    print(f"a child has its pid after 60 s beside an idle agent: {trio.run(keep)}")


PARTS = {
    "spawn": print_spawn,
    "burst": print_burst,
    "memory": print_memory,
    "kill": print_kill,
    "kill1000": print_kill1000,
    "turn": print_turn,
    "bomb": print_bomb,
    "keep": print_keep,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--processes", type=int, default=300)
    parser.add_argument("--agent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("argv", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.agent:
        trio.run(be_agent, options.argv, options.agent)
        return
    for part in options.only or [part for part in PARTS if part != "keep"]:
        PARTS[part](options)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
