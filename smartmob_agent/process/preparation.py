"""From a source URL to a command that can be started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import trio

from smartmob_agent.child.seam import Command
from smartmob_agent.errors import (
    CutShortError,
    DownloadError,
    InvalidProcfileError,
    NoProcfileError,
    SourceError,
    TransientError,
    UnknownProcessTypeError,
    UnpackError,
)
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import State
from smartmob_agent.source.app.environment import child_environment
from smartmob_agent.source.app.procfile import parse_procfile
from smartmob_agent.source.app.shell_line import replace_shell
from smartmob_agent.source.app.workspace import Unpacked, Workspace
from smartmob_agent.source.disk.timeouts import MAKE_ROOM_TIMEOUT
from smartmob_agent.source.store import Source

__all__ = ["Preparation", "failure_state"]

_FAILURE_STATES: Mapping[type[SourceError], State] = {
    SourceError: State.DOWNLOAD_FAILURE,
    DownloadError: State.DOWNLOAD_FAILURE,
    UnpackError: State.UNPACK_FAILURE,
    NoProcfileError: State.NO_PROCFILE,
    InvalidProcfileError: State.INVALID_PROCFILE,
    UnknownProcessTypeError: State.UNKNOWN_PROCESS_TYPE,
}


def failure_state(error: SourceError) -> State:
    """Return the final state of a process whose source has this fault.

    Embedders have classes of their own: the nearest one that is ours counts.
    """
    return next(_FAILURE_STATES[kind] for kind in type(error).__mro__ if kind in _FAILURE_STATES)


@attrs.frozen(eq=False, kw_only=True)
class Preparation:
    """The files of one process: its archive while it needs it, and the app that comes out of it.

    source: knows the archive's digest, and how far its download is.
    """

    source: Source
    _spec: ProcessSpec
    _environ: Mapping[str, str]
    _workspace: Workspace

    @classmethod
    def open(cls, spec: ProcessSpec, services: Services) -> Preparation:
        """Have none yet, but let the store know that the archive is going to be wanted."""
        source = services.store.open_source(
            spec.source_url, sha256=spec.source_sha256, request_id=spec.request_id
        )
        return cls(
            source=source,
            spec=spec,
            environ=services.environ,
            workspace=services.workspaces.open(spec.slug),
        )

    async def prepare(self, enter: Callable[[State], None]) -> Command:
        """Download, unpack and read the Procfile; tell `enter` the state of each step.

        Raises `SourceError` when trying again cannot mend it, else `TransientError`: then the
        archive is kept for the next try.

        If cancelled: what there is stays until `remove`.
        """
        try:
            enter(State.DOWNLOADING)
            archive = await self.source.get()
            enter(State.UNPACKING)
            app = await self._unpack(archive)
            enter(State.PROCESSING)
            command = _command(self._spec, app, self._environ)
        except SourceError:
            await self.source.aclose()
            raise
        except TransientError as exc:
            with trio.move_on_after(MAKE_ROOM_TIMEOUT, shield=True):
                await self.source.make_room_after(exc)
            raise
        await self.source.aclose()
        return command

    async def _unpack(self, archive: Path) -> Unpacked:
        try:
            return await self._workspace.unpack(archive)
        except CutShortError as exc:
            error = exc
        await self.source.reject(error)
        raise error

    async def remove(self) -> None:
        """Leave nothing; safe to call again.

        If cancelled: stops soon, and the rest stays.
        """
        await self.source.aclose()
        await self._workspace.remove()


def _command(spec: ProcessSpec, app: Unpacked, environ: Mapping[str, str]) -> Command:
    if app.procfile is None:
        raise NoProcfileError(
            "expected a file 'Procfile' at the top of the archive, or in its only directory, "
            f"found {app.found}"
        )
    types = parse_procfile(app.procfile)
    if spec.process_type not in types:
        raise UnknownProcessTypeError(
            f"expected one of the Procfile's process types ({', '.join(sorted(types))}), "
            f"found {spec.process_type!r}"
        )
    chosen = types[spec.process_type]
    return Command(
        argv=("/bin/sh", "-c", replace_shell(chosen.command)),
        env=child_environment(environ, chosen.env, spec.env),
        cwd=app.root,
    )
