"""The errors of the agent, split by whose fault they are.

::

    AgentError
    ├── StartError                what the operator asked for cannot be had: a taken port, …
    ├── RequestError              the client's: `status` is the HTTP status
    │   ├── BadRequestError       400, `errors` has one line per field
    │   ├── ProcessNotFoundError  404
    │   ├── SlugInUseError        409
    │   ├── OwnedError            409
    │   ├── PortInUseError        409
    │   ├── WrongStateError       409, in `process/states.py`, which knows the states
    │   ├── ReplaceFailedError    409, in `process/replacement.py`
    │   ├── ReplaceSupersededError  409, there, too
    │   ├── BodyTooLargeError     413
    │   ├── StateFailedError      500, in `state/seam.py`, as all of the state
    │   ├── StateFullError        507
    │   └── StoppingError         503
    ├── StateConflictError        somebody else has changed a document
    ├── CompactedError            a watcher asks for changes that are forgotten
    ├── SourceError               the app's: trying again cannot mend it
    │   ├── DownloadError
    │   ├── UnpackError
    │   │   └── CutShortError
    │   ├── NoProcfileError
    │   ├── InvalidProcfileError  `line` is the number of the line
    │   ├── UnknownProcessTypeError
    │   ├── InvalidAppJsonError
    │   └── BuildError
    └── TransientError              the world's: trying again may mend it
        ├── TransientDownloadError
        ├── PortUnavailableError
        └── SpawnError
            └── ExecError

Every message is one line, names what was expected and found, and holds no secret.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

__all__ = [
    "AgentError",
    "BadRequestError",
    "BodyTooLargeError",
    "BuildError",
    "CutShortError",
    "DownloadError",
    "ExecError",
    "InvalidAppJsonError",
    "InvalidProcfileError",
    "NoProcfileError",
    "OwnedError",
    "PortInUseError",
    "PortUnavailableError",
    "ProcessNotFoundError",
    "RequestError",
    "SlugInUseError",
    "SourceError",
    "SpawnError",
    "StartError",
    "StoppingError",
    "TransientDownloadError",
    "TransientError",
    "UnknownProcessTypeError",
    "UnpackError",
    "copy_error",
]


class AgentError(Exception):
    """The base of all errors of the agent."""


class StartError(AgentError):
    """The agent cannot start as it was asked to."""


class RequestError(AgentError):
    """A request that cannot be served; `status` is the HTTP status to answer with."""

    status: int

    @property
    def members(self) -> Mapping[str, object]:
        """What a problem document has besides: RFC 9457, section 3.2."""
        return {}


class BadRequestError(RequestError):
    """A request that is not what was expected.

    errors: one line for a human per field, all of them at once.
    """

    status = 400

    def __init__(self, detail: str, errors: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)

    @property
    def members(self) -> Mapping[str, object]:
        return {"errors": list(self.errors)} if self.errors else {}


class ProcessNotFoundError(RequestError):
    """No process has this slug."""

    status = 404

    def __init__(self, slug: str) -> None:
        super().__init__(f"no process has the slug {slug!r}")
        self.slug = slug


class SlugInUseError(RequestError):
    """A process with this slug exists already."""

    status = 409

    def __init__(self, slug: str) -> None:
        super().__init__(
            f"a process with the slug {slug!r} exists: delete it first, or choose another node"
        )
        self.slug = slug


class OwnedError(RequestError):
    """The process belongs to an app, and is changed through that alone."""

    status = 409

    def __init__(self, slug: str, owner: str) -> None:
        super().__init__(f"{slug!r} belongs to the app {owner!r}: change it through the app")
        self.slug = slug
        self.owner = owner


class PortInUseError(RequestError):
    """Another process of the agent has the port that was asked for."""

    status = 409

    def __init__(self, port: int, slug: str) -> None:
        super().__init__(f"port {port} is that of the process {slug!r}: choose another, or 'auto'")
        self.port = port


class BodyTooLargeError(RequestError):
    """The body of a request is over its limit."""

    status = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"expected a body of at most {limit_bytes} bytes, found a longer one")
        self.limit_bytes = limit_bytes


class StoppingError(RequestError):
    """The agent is stopping and takes no new process."""

    status = 503

    def __init__(self) -> None:
        super().__init__("the agent is stopping and takes no new process")


class SourceError(AgentError):
    """The app cannot be run as it is, however often one tries."""


class DownloadError(SourceError):
    """The archive cannot be had: refused by its server, too large, not an archive."""


class UnpackError(SourceError):
    """The archive is damaged, or holds what must not be unpacked."""


class CutShortError(UnpackError):
    """The archive ends too early: it may be so at its server, or the transfer lost the rest."""


class NoProcfileError(SourceError):
    """The archive has no Procfile at its top."""


class InvalidProcfileError(SourceError):
    """The Procfile breaks a rule; `line` is the number of the line, from 1."""

    def __init__(self, message: str, *, line: int) -> None:
        super().__init__(f"Procfile line {line}: {message}")
        self.line = line


class UnknownProcessTypeError(SourceError):
    """The Procfile does not name the requested process type."""


class InvalidAppJsonError(SourceError):
    """The app.json breaks a rule, or requires variables that nobody has set."""


class BuildError(SourceError):
    """What the app needs cannot be installed."""


class TransientError(AgentError):
    """Something that may mend itself: try again later.

    retry_after: seconds to wait at least, by the word of who failed; None if nothing was said.
    """

    retry_after: float | None = None


class TransientDownloadError(TransientError):
    """The archive cannot be had now: connection refused, time-out, 5xx, cut short."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PortUnavailableError(TransientError):
    """There is no port for the process now."""


class SpawnError(TransientError):
    """The operating system did not start the child."""


class ExecError(SpawnError):
    """There is no such program, or it is none."""


def copy_error(error: Exception) -> Exception:
    """Copy an error that several waiting processes raise: one exception has one traceback.

    Its class may be an embedder's, so nothing is known of its `__init__`, which is not called.
    """
    kind = type(error)
    copy = kind.__new__(kind, *error.args)
    vars(copy).update(vars(error))
    for base in kind.__mro__:
        for name in vars(base).get("__slots__", ()):
            with contextlib.suppress(AttributeError):
                object.__setattr__(copy, name, getattr(error, name))
    return copy
