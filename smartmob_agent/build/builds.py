"""Builds for processes: what an app needs is installed once, however many processes want it."""

from __future__ import annotations

import contextvars
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import trio

from smartmob_agent.build.runner import Runner
from smartmob_agent.build.seam import Builder
from smartmob_agent.build.shared_build import BuildMeans, BuildRequest, SharedBuild
from smartmob_agent.child.seam import Command, Spawner
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import BuildError, ExecError, copy_error
from smartmob_agent.output.pump import Sink
from smartmob_agent.source.app.environment import child_environment
from smartmob_agent.source.app.workspace import Unpacked
from smartmob_agent.source.trees.seam import HeldTree, TreeStore

__all__ = ["BuildUse", "Builds", "SeenApp", "open_builds"]

BUILDS_AT_ONCE = 4
"""More would not be faster, and need more memory."""

LOOKS = 200
"""Archives of which it is remembered who builds them: each with a Procfile and an app.json, which
are small, and 320 KiB together at most.
"""

DETECT_TIMEOUT = 30.0
"""Seconds for a program that looks at a few files."""

NOT_MINE = 100
"""Exit code, as of Cloud Native Buildpacks."""


@attrs.frozen(kw_only=True)
class SeenApp:
    """What is known of the app in an archive, once someone has unpacked it.

    found: what there is instead of a Procfile.
    root: of the app in what the archive holds, as a path; empty if it is the top.
    builder: who builds it; None if nobody does.
    """

    procfile: bytes | None
    app_json: bytes | None
    found: str
    root: str
    builder: Builder | None

    @classmethod
    def of(cls, app: Unpacked, builder: Builder | None) -> SeenApp:
        """Return what is known of an app that someone has unpacked."""
        root = app.root.relative_to(app.directory or app.root)
        return cls(
            procfile=app.procfile,
            app_json=app.app_json,
            found=app.found,
            root="" if root == Path() else str(root),
            builder=builder,
        )


@attrs.define(eq=False)
class Look:
    """A look into an archive, which one process takes for all.

    turn: whoever holds it looks.
    """

    turn: trio.Lock = attrs.field(factory=trio.Lock)
    seen: SeenApp | None = None


@attrs.frozen(eq=False, kw_only=True)
class BuildUse:
    """The use of a build by one process."""

    shared: SharedBuild
    _sink: Sink

    async def wait(self) -> HeldTree:
        """Wait for the build; it stays until `leave`.

        Raises `BuildError` when trying again cannot help, else `TransientError`.

        If cancelled: stops waiting.
        """
        await self.shared.ended.wait()
        if self.shared.error is not None:
            raise copy_error(self.shared.error) from self.shared.error
        assert self.shared.tree is not None  # noqa: S101  # Only if nobody waits, it has neither.
        return self.shared.tree

    async def leave(self) -> None:
        """See `SharedBuild.leave`."""
        await self.shared.leave(self._sink)


@attrs.define(eq=False, kw_only=True)
class Builds:
    """Builds apps for processes.

    builders: the first that wants an app builds it.
    secret: of this agent, for what apps want to be random; see `app_json.py`.
    nursery: for shared builds, which do not belong to any one process.
    """

    builders: Sequence[Builder]
    secret: bytes = attrs.field(factory=partial(secrets.token_bytes, 32), repr=False)
    _means: BuildMeans
    _nursery: trio.Nursery
    _running: dict[str, SharedBuild] = attrs.field(factory=dict)
    _looks: OrderedDict[tuple[str, str | None], Look] = attrs.field(factory=OrderedDict)

    def look(self, source_sha256: str, root: str | None) -> Look:
        """Return what is known of an archive, or is going to be.

        root: of the app in it, if the process says that.
        """
        key = source_sha256, root
        look = self._looks.setdefault(key, Look())
        self._looks.move_to_end(key)
        while len(self._looks) > LOOKS:
            self._looks.popitem(last=False)
        return look

    async def choose(self, app: Unpacked, sink: Sink) -> Builder | None:
        """Return the first builder that wants an app, None if nobody does.

        sink: gets what their programs write.

        Raises `BuildError` when a builder fails, and `SpawnError`.
        """
        for builder in self.builders:
            wants = builder.wants(app.files)
            if wants is None:
                wants = await self._detect(builder, app.root, sink)
            if wants:
                return builder
        await trio.lowlevel.checkpoint()
        return None

    async def use(
        self, builder: Builder, *, source_sha256: str, root: str, env: Mapping[str, str], sink: Sink
    ) -> BuildUse:
        """Join a build, or begin one; `BuildUse.leave` is for the end.

        Raises `BuildError` when the builder cannot be read.
        """
        request = BuildRequest(
            source_sha256=source_sha256,
            root=root,
            builder=builder,
            version=await builder.version(),
            env=env,
        )
        shared = self._running.get(request.key)
        if shared is None:
            shared = SharedBuild(request=request, means=self._means, forget=self._forget)
            self._running[request.key] = shared
            # In a context of its own: it outlives the request that starts it.
            start = partial(self._nursery.start_soon, shared.run, name=f"build {builder.name}")
            contextvars.Context().run(start)
        shared.join(sink)
        return BuildUse(shared=shared, sink=sink)

    def _forget(self, shared: SharedBuild) -> None:
        if self._running.get(shared.request.key) is shared:
            del self._running[shared.request.key]

    async def _detect(self, builder: Builder, app: Path, sink: Sink) -> bool:
        argv = builder.detect_command(app)
        env = {"HOME": str(app), **child_environment(self._means.environ, {}, {})}
        command = Command(argv=argv, env=env, cwd=app)
        said = f"the builder {builder.name!r}: detect"
        try:
            with trio.move_on_after(DETECT_TIMEOUT) as limit:
                how = await self._means.runner.run(command, sink)
        except ExecError as exc:
            raise BuildError(f"{said}: {exc}") from exc
        if limit.cancelled_caught:
            raise BuildError(f"{said}: expected an answer in {DETECT_TIMEOUT:g} s")
        if how.code not in (0, NOT_MINE):
            raise BuildError(f"{said}: expected exit code 0 or {NOT_MINE}, found {how}")
        return how.code == 0


@asynccontextmanager
async def open_builds(
    config: AgentConfig,
    builders: Sequence[Builder],
    *,
    spawner: Spawner,
    trees: TreeStore,
    environ: Mapping[str, str],
) -> AsyncGenerator[Builds]:
    """Make the builds of an agent; no process may use them any more at the end of the block."""
    means = BuildMeans(
        trees=trees,
        runner=Runner(
            spawner=spawner,
            line_bytes=config.output.line_bytes,
            drain_timeout=config.output.drain_timeout,
        ),
        environ=environ,
        timeout=config.build.timeout,
        limiter=trio.CapacityLimiter(BUILDS_AT_ONCE),
    )
    async with trio.open_nursery() as nursery:
        # What is left at the end removes files, for a while: see `SharedBuild.run`.
        yield Builds(builders=builders, means=means, nursery=nursery)
