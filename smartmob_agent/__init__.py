"""smartmob-agent: runs twelve-factor apps remotely, in a trio nursery.

::

    agent = await nursery.start(smartmob_agent.serve, smartmob_agent.AgentConfig(port=0))

Names are loaded when they are first asked for (PEP 562): a program that only imports
`smartmob_agent.client` loads no server, which takes a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartmob_agent.agent import Agent, serve
    from smartmob_agent.child.seam import Child, Command, Exit, Spawner
    from smartmob_agent.config.settings import (
        AgentConfig,
        Cache,
        Containment,
        HttpLimits,
        Network,
        OutputLimits,
        RestartDelays,
        Security,
        SourceLimits,
    )
    from smartmob_agent.errors import (
        AgentError,
        BadRequestError,
        BodyTooLargeError,
        DownloadError,
        InvalidProcfileError,
        NoProcfileError,
        PassingDownloadError,
        PassingError,
        ProcessNotFoundError,
        RequestError,
        SlugInUseError,
        SourceError,
        SpawnError,
        StartError,
        StoppingError,
        UnknownProcessTypeError,
        UnpackError,
    )
    from smartmob_agent.output.batch import Batch, Event, Stream
    from smartmob_agent.output.console import Console, ConsoleEnd
    from smartmob_agent.output.cursor import Cursor, LinesMissedError, MissedError
    from smartmob_agent.process.events import (
        Events,
        EventsMissedError,
        Transition,
        TransitionEvent,
    )
    from smartmob_agent.process.lifecycle import ProcessStatus
    from smartmob_agent.process.process import ManagedProcess
    from smartmob_agent.process.spec import ProcessSpec
    from smartmob_agent.process.states import State, WrongStateError
    from smartmob_agent.process.supervisor import Supervisor
    from smartmob_agent.source.app.workspace import Unpacked, Workspace, Workspaces
    from smartmob_agent.source.cache.seam import ArchiveCache, ArchivePart, HeldArchive
    from smartmob_agent.source.download.http_fetcher import Fetched, Fetcher

__all__ = [
    "Agent",
    "AgentConfig",
    "AgentError",
    "ArchiveCache",
    "ArchivePart",
    "BadRequestError",
    "Batch",
    "BodyTooLargeError",
    "Cache",
    "Child",
    "Command",
    "Console",
    "ConsoleEnd",
    "Containment",
    "Cursor",
    "DownloadError",
    "Event",
    "Events",
    "EventsMissedError",
    "Exit",
    "Fetched",
    "Fetcher",
    "HeldArchive",
    "HttpLimits",
    "InvalidProcfileError",
    "LinesMissedError",
    "ManagedProcess",
    "MissedError",
    "Network",
    "NoProcfileError",
    "OutputLimits",
    "PassingDownloadError",
    "PassingError",
    "ProcessNotFoundError",
    "ProcessSpec",
    "ProcessStatus",
    "RequestError",
    "RestartDelays",
    "Security",
    "SlugInUseError",
    "SourceError",
    "SourceLimits",
    "SpawnError",
    "Spawner",
    "StartError",
    "State",
    "StoppingError",
    "Stream",
    "Supervisor",
    "Transition",
    "TransitionEvent",
    "UnknownProcessTypeError",
    "UnpackError",
    "Unpacked",
    "Workspace",
    "Workspaces",
    "WrongStateError",
    "serve",
]

_HOMES = {
    "Agent": "agent",
    "serve": "agent",
    "Child": "child.seam",
    "Command": "child.seam",
    "Exit": "child.seam",
    "Spawner": "child.seam",
    "AgentConfig": "config.settings",
    "Cache": "config.settings",
    "Containment": "config.settings",
    "HttpLimits": "config.settings",
    "Network": "config.settings",
    "OutputLimits": "config.settings",
    "RestartDelays": "config.settings",
    "Security": "config.settings",
    "SourceLimits": "config.settings",
    "AgentError": "errors",
    "BadRequestError": "errors",
    "BodyTooLargeError": "errors",
    "DownloadError": "errors",
    "InvalidProcfileError": "errors",
    "NoProcfileError": "errors",
    "PassingDownloadError": "errors",
    "PassingError": "errors",
    "ProcessNotFoundError": "errors",
    "RequestError": "errors",
    "SlugInUseError": "errors",
    "SourceError": "errors",
    "SpawnError": "errors",
    "StartError": "errors",
    "StoppingError": "errors",
    "UnknownProcessTypeError": "errors",
    "UnpackError": "errors",
    "Batch": "output.batch",
    "Event": "output.batch",
    "Stream": "output.batch",
    "Console": "output.console",
    "ConsoleEnd": "output.console",
    "Cursor": "output.cursor",
    "LinesMissedError": "output.cursor",
    "MissedError": "output.cursor",
    "Events": "process.events",
    "EventsMissedError": "process.events",
    "Transition": "process.events",
    "TransitionEvent": "process.events",
    "ProcessStatus": "process.lifecycle",
    "ManagedProcess": "process.process",
    "ProcessSpec": "process.spec",
    "State": "process.states",
    "WrongStateError": "process.states",
    "Supervisor": "process.supervisor",
    "Unpacked": "source.app.workspace",
    "Workspace": "source.app.workspace",
    "Workspaces": "source.app.workspace",
    "ArchiveCache": "source.cache.seam",
    "ArchivePart": "source.cache.seam",
    "HeldArchive": "source.cache.seam",
    "Fetched": "source.download.http_fetcher",
    "Fetcher": "source.download.http_fetcher",
}
"""Name → module below this package that has it; the same as is imported for type checkers."""


if not TYPE_CHECKING:  # pragma: no branch  # else checkers would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Load what was asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
