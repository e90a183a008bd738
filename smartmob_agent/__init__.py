"""smartmob-agent: runs twelve-factor apps remotely, in a trio nursery.

::

    agent = await nursery.start(smartmob_agent.serve, smartmob_agent.AgentConfig(port=0))
"""

from smartmob_agent.child.spawn import Child, Command, Exit, Spawner
from smartmob_agent.config import (
    AgentConfig,
    Containment,
    HttpLimits,
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
from smartmob_agent.output.cursor import Cursor, LinesMissedError
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.serve import Agent, serve
from smartmob_agent.source.download import Fetched, Fetcher
from smartmob_agent.source.workspace import Unpacked, Workspace, Workspaces

__all__ = [
    "Agent",
    "AgentConfig",
    "AgentError",
    "BadRequestError",
    "Batch",
    "BodyTooLargeError",
    "Child",
    "Command",
    "Console",
    "ConsoleEnd",
    "Containment",
    "Cursor",
    "DownloadError",
    "Event",
    "Exit",
    "Fetched",
    "Fetcher",
    "HttpLimits",
    "InvalidProcfileError",
    "LinesMissedError",
    "ManagedProcess",
    "NoProcfileError",
    "OutputLimits",
    "PassingDownloadError",
    "PassingError",
    "ProcessNotFoundError",
    "ProcessSpec",
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
    "UnknownProcessTypeError",
    "UnpackError",
    "Unpacked",
    "Workspace",
    "Workspaces",
    "serve",
]
