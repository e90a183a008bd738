"""Children that do what a test tells them, for the contract of `Spawner` and `Child`."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import attrs

from smartmob_agent.child.seam import Child, Command, Spawner
from smartmob_agent.child.spawner import open_spawner
from smartmob_agent.testing import FakeChild, FakeSpawner

__all__ = ["OpenRig", "Puppet", "Rig", "open_fake_rig", "open_real_rig"]


class Puppet(Protocol):
    """A child in the hands of a test; what it is told it does in that order."""

    @property
    def child(self) -> Child:
        """The child itself."""
        ...

    def exit(self, code: int) -> None:
        """End with that code."""
        ...

    def die(self, signum: int) -> None:
        """End by that signal."""
        ...

    def say(self, text: str) -> None:
        """Write a line to the standard output."""
        ...

    def complain(self, text: str) -> None:
        """Write a line to the standard error."""
        ...

    def ignore_term(self) -> None:
        """Ignore SIGTERM from now on, as do the descendants that are made later."""
        ...

    def fork(self) -> None:
        """Make a descendant in the same process group, which holds the pipes."""
        ...

    def detach(self) -> None:
        """Make a descendant in a session of its own, which holds the pipes."""
        ...


class Rig(Protocol):
    """A spawner, and how to make puppets with it."""

    @property
    def spawner(self) -> Spawner:
        """The spawner under test."""
        ...

    async def start(self) -> Puppet:
        """Spawn a puppet."""
        ...


OpenRig = Callable[[Path], AbstractAsyncContextManager[Rig]]


@attrs.frozen
class RealPuppet:
    """A shell that does what comes through a named pipe."""

    child: Child
    _strings: int

    def exit(self, code: int) -> None:
        self._do(f"exit {code}")

    def die(self, signum: int) -> None:
        self._do(f"kill -{signum} $$")

    def say(self, text: str) -> None:
        self._do(f"echo {text}")

    def complain(self, text: str) -> None:
        self._do(f"echo {text} >&2")

    def ignore_term(self) -> None:
        self._do("trap '' TERM")

    def fork(self) -> None:
        self._do("sleep 1000 &")

    def detach(self) -> None:
        self._do("setsid sleep 1000 &")

    def _do(self, command: str) -> None:
        os.write(self._strings, f"{command}\n".encode())


@attrs.frozen
class FakePuppet:
    """A fake child, told through its attributes what its descendants would do."""

    child: FakeChild

    def exit(self, code: int) -> None:
        self.child.exit(code)

    def die(self, signum: int) -> None:
        self.child.die(signal.Signals(signum))

    def say(self, text: str) -> None:
        self.child.write(f"{text}\n".encode())

    def complain(self, text: str) -> None:
        self.child.write_error(f"{text}\n".encode())

    def ignore_term(self) -> None:
        self.child.obeys = False

    def fork(self) -> None:
        self.child.lingers = not self.child.obeys

    def detach(self) -> None:
        """A fake has no descendant that would outlive its process group."""


@attrs.frozen
class FakeRig:
    """The fake spawner."""

    spawner: FakeSpawner

    async def start(self) -> FakePuppet:
        command = Command(argv=("puppet",), env={}, cwd=Path("/"))
        return FakePuppet(await self.spawner.spawn(command))


@asynccontextmanager
async def open_fake_rig(_directory: Path) -> AsyncIterator[FakeRig]:
    """A rig of the fake spawner."""
    yield FakeRig(FakeSpawner(missing={"/missing/program"}))


@attrs.define
class RealRig:
    """The real spawner."""

    spawner: Spawner
    _directory: Path
    _strings: list[int] = attrs.field(factory=list)

    async def start(self) -> RealPuppet:
        name = f"strings{len(self._strings)}"
        os.mkfifo(self._directory / name)
        strings = os.open(self._directory / name, os.O_RDWR)
        self._strings.append(strings)
        command = Command(
            argv=("/bin/sh", "-c", f'while read -r line; do eval "$line"; done < {name}'),
            env={"PATH": os.environ["PATH"]},
            cwd=self._directory,
        )
        return RealPuppet(await self.spawner.spawn(command), strings)

    def close(self) -> None:
        while self._strings:
            os.close(self._strings.pop())


@asynccontextmanager
async def open_real_rig(directory: Path) -> AsyncIterator[RealRig]:
    """A rig of the real spawner; directory: an empty one, for its named pipes."""
    async with open_spawner() as spawner:
        rig = RealRig(spawner, directory)
        try:
            yield rig
        finally:
            rig.close()
