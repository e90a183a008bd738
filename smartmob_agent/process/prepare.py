"""From a source URL to a command that can be started."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from smartmob_agent.child.spawn import Command
from smartmob_agent.errors import (
    DownloadError,
    InvalidProcfileError,
    NoProcfileError,
    SourceError,
    UnknownProcessTypeError,
    UnpackError,
)
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import State
from smartmob_agent.source.environment import child_environment
from smartmob_agent.source.procfile import parse_procfile
from smartmob_agent.source.workspace import Unpacked, Workspace

__all__ = ["failure_state", "prepare"]

_FAILURE_STATES: Mapping[type[SourceError], State] = {
    DownloadError: State.DOWNLOAD_FAILURE,
    UnpackError: State.UNPACK_FAILURE,
    NoProcfileError: State.NO_PROCFILE,
    InvalidProcfileError: State.INVALID_PROCFILE,
    UnknownProcessTypeError: State.UNKNOWN_PROCESS_TYPE,
}


def failure_state(error: SourceError) -> State:
    """Return the final state of a process whose source has this fault."""
    return _FAILURE_STATES[type(error)]


async def prepare(
    spec: ProcessSpec, services: Services, workspace: Workspace, enter: Callable[[State], None]
) -> Command:
    """Download, unpack and read the Procfile; tell `enter` the state of each step.

    Raises `SourceError` when trying again cannot mend it, else `PassingError`.

    If cancelled: what is in the workspace stays until it is removed.
    """
    enter(State.DOWNLOADING)
    archive = workspace.archive
    await services.fetcher.fetch(spec.source_url, archive, request_id=spec.request_id)
    enter(State.UNPACKING)
    app = await workspace.unpack(archive)
    enter(State.PROCESSING)
    return _command(spec, app, services.environ)


def _command(spec: ProcessSpec, app: Unpacked, environ: Mapping[str, str]) -> Command:
    if app.procfile is None:
        raise NoProcfileError(
            "expected a file 'Procfile' at the top of the archive, or in its only directory"
        )
    types = parse_procfile(app.procfile)
    if spec.process_type not in types:
        raise UnknownProcessTypeError(
            f"expected one of the Procfile's process types ({', '.join(sorted(types))}), "
            f"found {spec.process_type!r}"
        )
    chosen = types[spec.process_type]
    return Command(
        argv=("/bin/sh", "-c", chosen.command),
        env=child_environment(environ, chosen.env, spec.env),
        cwd=app.root,
    )
