"""A build that all processes share which want the same one at the same time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from smartmob_agent.build.env_dir import parse_env_files
from smartmob_agent.build.runner import Runner
from smartmob_agent.build.seam import BuildDirectories, Builder
from smartmob_agent.build.tail import Tail
from smartmob_agent.child.seam import Command, Exit
from smartmob_agent.errors import BuildError, ExecError, SpawnError, TransientError, UnpackError
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.pump import Sink
from smartmob_agent.source.app.environment import child_environment
from smartmob_agent.source.disk.timeouts import REMOVE_OWN_TIMEOUT
from smartmob_agent.source.trees.seam import HeldTree, ScratchTree, TreeStore

__all__ = ["BuildMeans", "BuildRequest", "SharedBuild"]

_FORMAT = 1
"""Of what is kept: a change of it makes all be built again."""


@attrs.frozen(kw_only=True)
class BuildRequest:
    """What is to be built.

    source_sha256: digest of the archive.
    root: of the app in what the archive holds, as a path; empty if it is the top.
    version: of the builder.
    env: of the create request.
    """

    source_sha256: str
    root: str
    builder: Builder
    version: str
    env: Mapping[str, str]

    @property
    def key(self) -> str:
        """A digest of all that decides what comes out of it."""
        env = sorted(_of_build(self.env).items())
        parts = [_FORMAT, self.source_sha256, self.root, self.builder.name, self.version, env]
        text = json.dumps(parts)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@attrs.frozen(kw_only=True)
class BuildMeans:
    """What builds need of the world.

    environ: the agent's own environment, of which a build inherits what children do.
    timeout: seconds.
    limiter: of how many run at once.
    """

    trees: TreeStore
    runner: Runner
    environ: Mapping[str, str]
    timeout: float
    limiter: trio.CapacityLimiter


@attrs.define(eq=False, kw_only=True)
class SharedBuild:
    """Finds or makes a build; once it has `ended` there is a `tree` or an `error`.

    users: processes that wait for the tree or copy it.
    """

    request: BuildRequest
    means: BuildMeans
    forget: Callable[[SharedBuild], None]
    users: int = 0
    tree: HeldTree | None = None
    error: Exception | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    _looked: trio.Event = attrs.field(factory=trio.Event)
    _given: trio.Event = attrs.field(factory=trio.Event)
    _giving: trio.Lock = attrs.field(factory=trio.Lock)
    _scratch: ScratchTree | None = None
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _sinks: list[Sink] = attrs.field(factory=list)
    _tail: Tail = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tail = Tail(self.request.env.values())

    async def run(self) -> None:
        """Find the tree, or make and hold it.  An error is kept for the processes that wait."""
        try:
            with self._scope:
                await self._get()
        except Exception as exc:  # noqa: BLE001  # Each process has a task in which it fails.
            self.error = exc
        finally:
            self._end()
            if self._scratch is not None:
                # Nobody waits for it; what is left then is part of what the agent removes last.
                with trio.move_on_after(REMOVE_OWN_TIMEOUT, shield=True):
                    await self._scratch.remove()

    def join(self, sink: Sink) -> None:
        """Become one of its users; `leave` is for the end.

        sink: gets its output from now on.
        """
        self.users += 1
        self._sinks.append(sink)

    @asynccontextmanager
    async def giving(self) -> AsyncIterator[bool]:
        """Wait until it is clear whether the app's files are wanted, and who gives them.

        Yields True for one user at a time; the block may call `give`.
        """
        await self._looked.wait()
        async with self._giving:
            yield self._scratch is not None and not self._given.is_set() and not self.ended.is_set()

    async def give(self, hand_over: Callable[[Path], Awaitable[None]]) -> None:
        """Let the app's files be moved to where they are built.

        If it fails or is cancelled: the build ends, and its users have to try again.
        """
        assert self._scratch is not None  # noqa: S101  # Else `giving` wants none.
        try:
            await hand_over(self._scratch.app)
        except BaseException:
            self.error = TransientError("the files of the app were not complete")
            self._end()
            self._scope.cancel(reason="the files of the app are not complete")
            raise
        self._given.set()

    async def leave(self, sink: Sink) -> None:
        """Leave, as one user; after the last one the build ends and nothing of it is left.

        If cancelled: does this first; it takes the time that `Runner.run` has to end.
        """
        self.users -= 1
        self._sinks.remove(sink)
        if self.users:
            await trio.lowlevel.checkpoint()
            return
        self.forget(self)
        self._scope.cancel(reason="nobody wants the build")
        # Bounded by the end of a tree that is killed, and by one step of the disk.
        with trio.CancelScope(shield=True):
            await self.ended.wait()
            if self.tree is not None:
                tree, self.tree = self.tree, None
                await tree.release()

    def publish(self, stream: Stream, text: bytes) -> None:
        """Hand lines to all users, and remember the last ones."""
        self._tail.add(text)
        for sink in self._sinks:
            sink.publish(stream, text)

    def _end(self) -> None:
        self.forget(self)
        self._looked.set()
        self.ended.set()

    async def _get(self) -> None:
        self.tree = await self.means.trees.find(self.request.key)
        if self.tree is None:
            self._scratch = await self.means.trees.open_scratch()
            self._looked.set()
            await self._given.wait()
            async with self.means.limiter:
                await self._build(self._scratch)

    async def _build(self, scratch: ScratchTree) -> None:
        name, started = self.request.builder.name, trio.current_time()
        await self._run_builder(scratch)
        try:
            env = parse_env_files(await scratch.read_env())
            record = {
                "builder": name,
                "seconds": round(trio.current_time() - started, 3),
                "root": self.request.root,
                "env": attrs.asdict(env),
            }
            self.tree = await scratch.keep(self.request.key, record)
        except (UnpackError, BuildError) as exc:
            raise BuildError(f"the build by {name!r} cannot be kept: {exc}") from exc

    async def _run_builder(self, scratch: ScratchTree) -> None:
        """Run the program; raises `BuildError` if it fails, takes too long or fills the disk."""
        builder, started = self.request.builder, trio.current_time()
        said = f"the build by {builder.name!r}"
        cache = await self.means.trees.take_tool_cache(builder.name)
        try:
            with trio.move_on_after(self.means.timeout) as limit:
                how = await self._run_watched(scratch, self._command(scratch, cache.path))
            await cache.weigh()
        except ExecError as exc:
            raise BuildError(f"the builder {builder.name!r}: {exc}") from exc
        finally:
            cache.release()
        if limit.cancelled_caught:
            raise self._failure(
                f"{said} was not done in {self.means.timeout:g} s (--build-timeout)"
            )
        if how is None:
            raise self._failure(f"{said} left too little of the disk free (--min-free-bytes)")
        if how.code != 0:
            after = trio.current_time() - started
            raise self._failure(f"{said} ended with {how} after {after:.1f} s")

    async def _run_watched(self, scratch: ScratchTree, command: Command) -> Exit | None:
        """Run a program; return how it ended, None if that was because the disk is full.

        Raises `SpawnError` and `BuildError`.
        """
        how: Exit | None = None
        error: Exception | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await scratch.wait_disk_full()
                nursery.cancel_scope.cancel(reason="the disk is full")

            nursery.start_soon(watch, name="free space")
            try:
                how = await self.means.runner.run(command, self)
            except (SpawnError, BuildError) as exc:
                error = exc
            nursery.cancel_scope.cancel(reason="the build has ended")
        if error is not None:
            raise error
        return how

    def _command(self, scratch: ScratchTree, cache: Path) -> Command:
        app = scratch.app / self.request.root
        directories = BuildDirectories(
            app=app,
            env=scratch.env,
            cache=cache,
            # App, home and so on lie in one directory, so that they can be removed and made anew.
            writable=(scratch.app.parent, cache),
        )
        own = {"HOME": str(scratch.home), "TMPDIR": str(scratch.temporary)}
        env = child_environment(self.means.environ, {}, _of_build(self.request.env))
        return Command(
            argv=self.request.builder.build_command(directories), env={**env, **own}, cwd=app
        )

    def _failure(self, what: str) -> BuildError:
        tail = str(self._tail)
        return BuildError(f"{what}: {tail}" if tail else what)


def _of_build(env: Mapping[str, str]) -> dict[str, str]:
    """Return what a build may know: each process has a port of its own, and all share a build."""
    return {name: value for name, value in env.items() if name != "PORT"}
