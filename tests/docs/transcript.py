"""Shell transcripts in pages of the documentation, done again and compared.

A `console` block is typed into the terminal that its caption names, or into a nameless one.
`$ ` begins a command and `> ` goes on with it; `^C` presses CTRL-C; `...` stands for any
lines; all else is output.  What a command writes behind the end of a block is looked at when
a later block of the same terminal goes on, or at the end of all.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

PORTS = ("8080", "8000")
"""Ports in the pages.  The command that has one first takes a free one, and says which."""
CLOSE_TIMEOUT = 10.0
"""Seconds for the end of what was killed."""
CHANGING = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z": "TIME",
    r'"pid": \d+': '"pid": PID',
    r'"port": \d+': '"port": PORT',
    r'"seq": \d+': '"seq": NUMBER',
    r"^id: \d+$": "id: NUMBER",
    r"[0-9a-f]{64}": "DIGEST",
    r'"size": \d+': '"size": NUMBER',
    r"worker \d+": "worker PID",
    r"tick \d+": "tick NUMBER",
}


@attrs.frozen(kw_only=True)
class Block:
    """One `console` block.

    steps: its lines, in which those of a command are joined.
    """

    page: str
    terminal: str
    steps: Sequence[str]


def read_blocks(page: Path) -> Iterator[Block]:
    """Find the transcripts of a page."""
    pattern = r"^\.\. code-block:: console\n((?:   :.*\n)*)\n((?:   .*\n|\n)+)"
    for match in re.finditer(pattern, page.read_text(encoding="utf-8"), re.MULTILINE):
        caption = re.search(r":caption: (.*)", match[1])
        text = re.sub(r"^   ", "", match[2].rstrip(), flags=re.MULTILINE)
        steps = [step.replace("\n> ", "\n") for step in re.split(r"\n(?!> )", text)]
        yield Block(page=page.name, terminal=caption[1] if caption else "", steps=steps)


@attrs.define(eq=False)
class Terminal:
    """Where one command runs at a time.

    skipping: whether `...` allows for lines that are not on the page.
    learns: the port on the page whose real number the next line tells.
    """

    process: trio.Process | None = None
    rest: bytes = b""
    skipping: bool = False
    learns: str = ""

    async def next_line(self) -> str | None:
        """Return the next line of output, None at its end."""
        assert self.process is not None
        assert self.process.stdout is not None
        while b"\n" not in self.rest:
            chunk = await self.process.stdout.receive_some()
            if not chunk:
                line, self.rest = self.rest.decode(), b""
                return line or None
            self.rest += chunk
        text, _, self.rest = self.rest.partition(b"\n")
        return text.decode().removesuffix("\r")  # A terminal shows none of it.

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the command and all that it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    async def close(self) -> None:
        """Wait for the end of the command, and close what it wrote to."""
        if self.process is not None:
            await self.process.wait()
            assert self.process.stdout is not None
            await self.process.stdout.aclose()
        self.process, self.skipping = None, False


@attrs.define(eq=False, kw_only=True)
class Session:
    """All terminals of a reader.

    ports: on the page → real.
    """

    cwd: Path
    env: Mapping[str, str]
    terminals: dict[str, Terminal] = attrs.field(factory=dict)
    ports: dict[str, str] = attrs.field(factory=dict)

    async def play(self, block: Block) -> None:
        """Do what a block says; fail with `AssertionError` where the output is another one."""
        terminal = self.terminals.setdefault(block.terminal, Terminal())
        for step in block.steps:
            if step.startswith("$ "):
                await self.finish(terminal, block.page)
                await self._start(terminal, step.removeprefix("$ "))
            elif step == "^C":
                terminal.signal_group(signal.SIGINT)
            elif step == "...":
                terminal.skipping = True
            else:
                await self._expect(terminal, step, block.page)

    async def finish(self, terminal: Terminal, page: str) -> None:
        """Wait for the end of what runs in a terminal, and of its output."""
        if terminal.process is None:
            return
        while (line := await terminal.next_line()) is not None:
            assert terminal.skipping, f"{page}: more output than there should be: {line!r}"
        await terminal.close()

    async def _start(self, terminal: Terminal, command: str) -> None:
        for port in PORTS:
            if port in command and port not in self.ports:
                terminal.learns = port
            command = command.replace(port, self.ports.get(port, "0"))
        terminal.process = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.cwd,
            env=self.env,
            start_new_session=True,
        )

    async def _expect(self, terminal: Terminal, expected: str, page: str) -> None:
        while True:
            line = await terminal.next_line()
            assert line is not None, f"{page}: expected {expected!r}, found the end"
            self._learn(terminal, line)
            found = self._as_on_page(line)
            if without_changing(found) == without_changing(expected):
                terminal.skipping = False
                return
            assert terminal.skipping, f"{page}: expected {expected!r}, found {found!r}"

    def _learn(self, terminal: Terminal, line: str) -> None:
        if terminal.learns and (match := re.search(r"http://127\.0\.0\.1:(\d+)", line)):
            self.ports[terminal.learns] = match[1]
            terminal.learns = ""

    def _as_on_page(self, line: str) -> str:
        for port, real in self.ports.items():
            line = re.sub(rf"\b{real}\b", port, line)
        return line


def without_changing(line: str) -> str:
    """Put names in the place of what is another one each time."""
    for pattern, name in CHANGING.items():
        line = re.sub(pattern, name, line)
    return line


@asynccontextmanager
async def open_session(cwd: Path, env: Mapping[str, str]) -> AsyncGenerator[Session]:
    """Have terminals; nothing of what was started in them is left at the end."""
    session = Session(cwd=cwd, env=env)
    try:
        yield session
        for name, terminal in session.terminals.items():
            await session.finish(terminal, name)
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            for terminal in session.terminals.values():
                terminal.signal_group(signal.SIGKILL)
                await terminal.close()


async def play(blocks: Iterable[Block], cwd: Path, env: Mapping[str, str]) -> None:
    """Do what blocks say, in their order."""
    async with open_session(cwd, env) as session:
        for block in blocks:
            await session.play(block)
