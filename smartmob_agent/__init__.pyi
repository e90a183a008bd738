# The public names.  Each is told once, here: type checkers read it, and so does __init__.py.

from smartmob_agent.agent import (
    Agent as Agent,
    serve as serve,
)
from smartmob_agent.build.seam import (
    BuildDirectories as BuildDirectories,
    Builder as Builder,
)
from smartmob_agent.child.seam import (
    Child as Child,
    Command as Command,
    Exit as Exit,
    Spawner as Spawner,
)
from smartmob_agent.config.settings import (
    AgentConfig as AgentConfig,
    BuildLimits as BuildLimits,
    Cache as Cache,
    Containment as Containment,
    EgressRules as EgressRules,
    HttpLimits as HttpLimits,
    OutputLimits as OutputLimits,
    RestartDelays as RestartDelays,
    Security as Security,
    SourceLimits as SourceLimits,
)
from smartmob_agent.errors import (
    AgentError as AgentError,
    BadRequestError as BadRequestError,
    BodyTooLargeError as BodyTooLargeError,
    BuildError as BuildError,
    DownloadError as DownloadError,
    ExecError as ExecError,
    InvalidAppJsonError as InvalidAppJsonError,
    InvalidProcfileError as InvalidProcfileError,
    NoProcfileError as NoProcfileError,
    PortInUseError as PortInUseError,
    PortUnavailableError as PortUnavailableError,
    ProcessNotFoundError as ProcessNotFoundError,
    RequestError as RequestError,
    SlugInUseError as SlugInUseError,
    SourceError as SourceError,
    SpawnError as SpawnError,
    StartError as StartError,
    StoppingError as StoppingError,
    TransientDownloadError as TransientDownloadError,
    TransientError as TransientError,
    UnknownProcessTypeError as UnknownProcessTypeError,
    UnpackError as UnpackError,
)
from smartmob_agent.output.batch import (
    Batch as Batch,
    Event as Event,
    Stream as Stream,
)
from smartmob_agent.output.console import (
    Console as Console,
    ConsoleEnd as ConsoleEnd,
)
from smartmob_agent.output.cursor import (
    Cursor as Cursor,
    LinesMissedError as LinesMissedError,
    MissedError as MissedError,
)
from smartmob_agent.process.events import (
    Events as Events,
    EventsMissedError as EventsMissedError,
    Transition as Transition,
    TransitionEvent as TransitionEvent,
)
from smartmob_agent.process.network import (
    LocalNetwork as LocalNetwork,
    Notifications as Notifications,
    ProbeError as ProbeError,
)
from smartmob_agent.process.policies import (
    Readiness as Readiness,
    RestartPolicy as RestartPolicy,
    StopPolicy as StopPolicy,
)
from smartmob_agent.process.process import (
    ManagedProcess as ManagedProcess,
)
from smartmob_agent.process.replacement import (
    ReplaceAttempt as ReplaceAttempt,
    ReplaceFailedError as ReplaceFailedError,
    Replacement as Replacement,
    ReplaceSupersededError as ReplaceSupersededError,
)
from smartmob_agent.process.spec import (
    ProcessSpec as ProcessSpec,
)
from smartmob_agent.process.states import (
    State as State,
    WrongStateError as WrongStateError,
)
from smartmob_agent.process.supervisor import (
    Supervisor as Supervisor,
)
from smartmob_agent.source.app.workspace import (
    Unpacked as Unpacked,
    Workspace as Workspace,
    Workspaces as Workspaces,
)
from smartmob_agent.source.cache.seam import (
    ArchiveCache as ArchiveCache,
    ArchivePart as ArchivePart,
    HeldArchive as HeldArchive,
)
from smartmob_agent.source.download.seam import (
    Fetched as Fetched,
    Fetcher as Fetcher,
    FetchRequest as FetchRequest,
    PartialFile as PartialFile,
)

__all__: list[str]  # noqa: PYI035  # each name above is one of it
_HOMES: dict[str, str]
