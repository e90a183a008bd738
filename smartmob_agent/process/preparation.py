"""From a source URL to a command that can be started."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import attrs
import trio

from smartmob_agent.build.builds import Builds, BuildUse, SeenApp
from smartmob_agent.build.env_dir import place_environment
from smartmob_agent.build.seam import Builder
from smartmob_agent.child.seam import Command
from smartmob_agent.errors import (
    BuildError,
    CutShortError,
    DownloadError,
    InvalidAppJsonError,
    InvalidProcfileError,
    NoProcfileError,
    SourceError,
    TransientError,
    UnknownProcessTypeError,
    UnpackError,
)
from smartmob_agent.output.pump import Sink
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import State
from smartmob_agent.source.app.app_json import AppJson, parse_app_json, request_environment
from smartmob_agent.source.app.environment import BuildEnvironment, child_environment
from smartmob_agent.source.app.procfile import ProcessType, parse_procfile
from smartmob_agent.source.app.shell_line import replace_shell
from smartmob_agent.source.app.workspace import Unpacked, Workspace
from smartmob_agent.source.cache.seam import HeldArchive
from smartmob_agent.source.disk.timeouts import MAKE_ROOM_TIMEOUT
from smartmob_agent.source.store import Source, Store

__all__ = ["BuildInfo", "Preparation", "chosen_type", "failure_state", "types_of"]

_FAILURE_STATES: Mapping[type[SourceError], State] = {
    SourceError: State.DOWNLOAD_FAILURE,
    DownloadError: State.DOWNLOAD_FAILURE,
    UnpackError: State.UNPACK_FAILURE,
    NoProcfileError: State.NO_PROCFILE,
    InvalidProcfileError: State.INVALID_PROCFILE,
    UnknownProcessTypeError: State.UNKNOWN_PROCESS_TYPE,
    InvalidAppJsonError: State.INVALID_APP_JSON,
    BuildError: State.BUILD_FAILURE,
}


def failure_state(error: SourceError) -> State:
    """Return the final state of a process whose source has this fault.

    Embedders have classes of their own: the nearest one that is ours counts.
    """
    return next(_FAILURE_STATES[kind] for kind in type(error).__mro__ if kind in _FAILURE_STATES)


@attrs.frozen(kw_only=True)
class BuildInfo:
    """What a process was built by.

    cached: whether it was there already, or made for another process at the same time.
    seconds: that the build took when it was made.
    """

    builder: str
    cached: bool
    seconds: float


@attrs.define(eq=False, kw_only=True)
class Preparation:
    """The files of one process: its archive while it needs it, and the app that comes out of it.

    source: knows the archive's digest, and how far its download is.
    build: what the app was built by; None if it was not built.
    seen: what is known of the app, once someone has looked.
    """

    source: Source
    build: BuildInfo | None = None
    seen: SeenApp | None = None
    _store: Store
    _spec: ProcessSpec
    _environ: Mapping[str, str]
    _workspace: Workspace
    _builds: Builds
    _output: Sink
    _pins: bool
    _pinned: HeldArchive | None = None

    @classmethod
    def open(
        cls, spec: ProcessSpec, services: Services, output: Sink, found_sha256: str | None = None
    ) -> Preparation:
        """Have none yet, but let the store know that the archive is going to be wanted.

        output: gets what a build writes.
        found_sha256: digest of the archive that the process had in an earlier life of the agent.
        """
        source = services.store.open_source(
            spec.source_url,
            sha256=found_sha256 or spec.source_sha256,
            request_id=spec.request_id,
        )
        return cls(
            source=source,
            store=services.store,
            spec=spec,
            environ=services.environ,
            workspace=services.workspaces.open(spec.slug),
            builds=services.builds,
            output=output,
            pins=services.state is not None,
        )

    async def prepare(self, enter: Callable[[State], None]) -> Command:
        """Download, unpack, read the Procfile and build; tell `enter` the state of each step.

        With a store of state the archive stays in the cache until `remove`: a process that comes
        back with the next life of the agent needs no server.

        Raises `SourceError` when trying again cannot mend it, else `TransientError`: then the
        archive is kept for the next try, and also after a `BuildError`.

        If cancelled: what there is stays until `remove`.
        """
        try:
            enter(State.DOWNLOADING)
            archive = await self.source.get()
            enter(State.UNPACKING)
            if self._spec.build == "auto" and self._builds.builders:
                command = await self._prepare_to_build(archive, enter)
            else:
                command = await self._prepare_as_it_is(archive, enter)
        except BuildError:
            raise
        except SourceError:
            await self.source.aclose()
            raise
        except TransientError as exc:
            with trio.move_on_after(MAKE_ROOM_TIMEOUT, shield=True):
                await self.source.make_room_after(exc)
            raise
        if self._pins and self._pinned is None and self.source.sha256 is not None:
            self._pinned = await self._store.cache.find(self.source.sha256)
        await self.source.aclose()
        return command

    async def renew(self, command: Command) -> Command | None:
        """Give a command what is its process's own before a start; None if its files are gone.

        Then `prepare` makes them anew, from the archive that they came from.

        Raises `TransientError`.
        """
        temporary = await self._workspace.renew(command.cwd)
        if temporary is None:
            digest = self.source.sha256 or self._spec.source_sha256
            self.source = self._store.open_source(
                self._spec.source_url, sha256=digest, request_id=self._spec.request_id
            )
            return None
        spec = self._spec
        own = {
            "HOME": str(command.cwd),
            "TMPDIR": str(temporary),
            "SMARTMOB_APP": spec.app,
            "SMARTMOB_NODE": spec.node,
            "SMARTMOB_SLUG": spec.slug,
            **({} if spec.process_type is None else {"SMARTMOB_PROCESS_TYPE": spec.process_type}),
            **({} if spec.release is None else {"SMARTMOB_RELEASE": str(spec.release)}),
        }
        return attrs.evolve(command, env={**own, **command.env})

    async def _unpack(self, archive: Path) -> Unpacked:
        try:
            return await self._workspace.unpack(archive, self._spec.root)
        except CutShortError as exc:
            error = exc
        await self.source.reject(error)
        raise error

    async def remove(self) -> None:
        """Leave nothing; safe to call again.

        If cancelled: stops soon, and the rest stays.
        """
        await self.source.aclose()
        pinned, self._pinned = self._pinned, None
        if pinned is not None:
            await pinned.release()
        await self._workspace.remove()

    async def _prepare_as_it_is(self, archive: Path, enter: Callable[[State], None]) -> Command:
        app = await self._unpack(archive)
        enter(State.PROCESSING)
        return self._plan(SeenApp.of(app, None)).command(app.root)

    async def _prepare_to_build(self, archive: Path, enter: Callable[[State], None]) -> Command:
        """Let one process look for all that have the same archive; build if someone wants to."""
        assert self.source.sha256 is not None  # noqa: S101  # It has the archive.
        app, look = None, self._builds.look(self.source.sha256, self._spec.root)
        async with look.turn:
            if (seen := look.seen) is None:
                app, seen = await self._look(archive, enter)
            look.seen = seen
        if seen.builder is not None:
            if app is None:
                enter(State.PROCESSING)
            plan, has_files = self._plan(seen), app is not None
            enter(State.BUILDING)
            unpack = None if has_files else partial(self._unpack, archive)
            return await self._build(plan, seen, seen.builder, unpack)
        if app is None:
            return await self._prepare_as_it_is(archive, enter)
        return self._plan(seen).command(app.root)

    async def _look(
        self, archive: Path, enter: Callable[[State], None]
    ) -> tuple[Unpacked, SeenApp]:
        """Unpack, and find out who builds it."""
        app = await self._unpack(archive)
        enter(State.PROCESSING)
        self._plan(SeenApp.of(app, None))
        return app, SeenApp.of(app, await self._builds.choose(app, self._output))

    async def _build(
        self,
        plan: _Plan,
        seen: SeenApp,
        builder: Builder,
        unpack: Callable[[], Awaitable[Unpacked]] | None,
    ) -> Command:
        """Wait for the build, and copy it.

        unpack: None if the workspace has the app's files already.
        """
        use = await self._builds.use(
            builder,
            source_sha256=self.source.sha256 or "",
            root=seen.root,
            env=plan.env,
            sink=self._output,
        )
        async with AsyncExitStack() as stack:
            stack.push_async_callback(use.leave)
            async with use.shared.giving() as wanted:
                gave = wanted and await self._give(use, unpack)
            tree = await use.wait()
            directory, record = await self._workspace.copy(tree), tree.record
        self.build = BuildInfo(
            builder=record["builder"], cached=not gave, seconds=record["seconds"]
        )
        root = directory / record["root"]
        return plan.command(root, place_environment(BuildEnvironment(**record["env"]), str(root)))

    async def _give(self, use: BuildUse, unpack: Callable[[], Awaitable[Unpacked]] | None) -> bool:
        """Give the app's files to a build; return True."""
        if unpack is not None:
            await _again(unpack)
        await use.shared.give(self._workspace.hand_over)
        return True

    def _plan(self, seen: SeenApp) -> _Plan:
        """Find the command of the process.

        Raises `SourceError` if there is none, or what it needs is not set.
        """
        self.seen = seen
        spec, chosen = self._spec, self._chosen(seen)
        app_json = AppJson() if seen.app_json is None else parse_app_json(seen.app_json)
        secret = self._builds.secret
        env = request_environment(app_json, spec.env, secret=secret, app=spec.app)
        return _Plan(chosen=chosen, env=env, environ=self._environ)

    def _chosen(self, seen: SeenApp) -> ProcessType:
        """Find what is to be run."""
        spec = self._spec
        if spec.command is not None:
            return ProcessType(name="", command=spec.command, env={})
        return chosen_type(types_of(seen), spec.process_type)


def types_of(seen: SeenApp) -> Mapping[str, ProcessType]:
    """Return the process types of an app.

    Raises `NoProcfileError` and `InvalidProcfileError`.
    """
    if seen.procfile is None:
        raise NoProcfileError(
            "expected a file 'Procfile' at the top of the archive, or in its only directory, "
            f"found {seen.found}"
        )
    return parse_procfile(seen.procfile)


def chosen_type(types: Mapping[str, ProcessType], name: str | None) -> ProcessType:
    """Return one of them; raises `UnknownProcessTypeError`."""
    if name is None or name not in types:
        raise UnknownProcessTypeError(
            f"expected one of the Procfile's process types ({', '.join(sorted(types))}), "
            f"found {name!r}"
        )
    return types[name]


async def _again(unpack: Callable[[], Awaitable[Unpacked]]) -> None:
    """Unpack what was unpacked before: whatever is wrong now may mend itself."""
    try:
        await unpack()
    except SourceError as exc:
        raise TransientError(str(exc)) from exc


@attrs.frozen(kw_only=True)
class _Plan:
    """How a process is started, once it is known where its app is.

    env: of the create request, with the defaults of the app.
    """

    chosen: ProcessType
    env: Mapping[str, str]
    environ: Mapping[str, str]

    def command(self, root: Path, build: BuildEnvironment | None = None) -> Command:
        return Command(
            argv=("/bin/sh", "-c", replace_shell(self.chosen.command)),
            env=child_environment(
                self.environ, self.chosen.env, self.env, build=build or BuildEnvironment()
            ),
            cwd=root,
        )
