"""A /proc of files, for a machine with the processes that a test wants."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import attrs

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.define(eq=False)
class Machine:
    """Processes as directories; what is not said of one is nothing."""

    root: Path
    lists_children: bool = True

    def __attrs_post_init__(self) -> None:
        (self.root / "thread-self").mkdir(parents=True)
        if self.lists_children:
            (self.root / "thread-self/children").touch()

    def add(
        self,
        pid: int,
        parent: int,
        *,
        cpu: float = 0.0,
        reaped: float = 0.0,
        pss_kib: int | None = None,
        pages: int = 0,
        fds: int = 0,
        state: str = "S",
        threads: Sequence[int] = (),
        start: int = 1,
    ) -> None:
        """Add a process, and list it with its parent, in the first of its threads.

        cpu, reaped: seconds.
        threads: of its children, if it has more than the one of its own number.
        """
        tasks = threads or (pid,)
        for thread in tasks:
            (self.root / f"{pid}/task/{thread}").mkdir(parents=True)
            (self.root / f"{pid}/task/{thread}/children").write_text("")
        (self.root / f"{pid}/fd").write_bytes(bytes(fds))  # whose size tells their number
        if pss_kib is not None:
            self.share(pid, pss_kib)
        self.run(pid, parent, cpu, reaped, pages, state, len(tasks), start)
        if self.lists_children and (self.root / f"{parent}").exists():
            task = sorted((self.root / f"{parent}/task").iterdir())[-1]
            with (task / "children").open("a") as file:
                file.write(f"{pid} ")

    def run(
        self,
        pid: int,
        parent: int,
        cpu: float,
        reaped: float = 0.0,
        pages: int = 0,
        state: str = "S",
        threads: int = 1,
        start: int = 1,
    ) -> None:
        """Write its figures, as proc_pid_stat(5) has them."""
        times = f"{cpu * TICKS:.0f} 0 0 {reaped * TICKS:.0f}"
        text = (
            f"{pid} (a ) b) {state} {parent} {'0 ' * 9}{times} 20 0 {threads} 0 {start} 0 {pages}"
        )
        (self.root / f"{pid}/stat").write_text(text)

    def share(self, pid: int, kib: int) -> None:
        """Write its share of memory, as proc_pid_smaps(5) has it."""
        text = f"5583 [rollup]\nRss: 9999 kB\nPss: {kib} kB\nPss_Dirty: 1 kB\n"
        (self.root / f"{pid}/smaps_rollup").write_text(text)
