"""What can go wrong between a client and its agent.

::

    ClientError
    ├── AddressError            no URL of an agent
    ├── NoConnectionError       trying again may help
    │   ├── UnreachableError    there was none
    │   │   └── TlsError        TLS did not come about
    │   └── ConnectionLostError there was one
    ├── BadAnswerError          what answers is no agent, or one of another kind
    ├── ProcessEndedError       it was deleted or replaced while the connection was lost
    ├── ProcessFailedError      it is in a state that it will not leave for the one waited for
    └── RefusedError            the agent says no: a problem document (RFC 9457)
        ├── InvalidRequestError 400
        ├── NotAllowedError     401, 403
        ├── NoSuchProcessError  404
        ├── ConflictError       409
        ├── TooLargeError       413
        ├── BusyError           429, 503
        └── DefectError         500

Every message is one line and holds neither a token nor the query of a URL.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "AddressError",
    "BadAnswerError",
    "BusyError",
    "ClientError",
    "ConflictError",
    "ConnectionLostError",
    "DefectError",
    "InvalidRequestError",
    "NoConnectionError",
    "NoSuchProcessError",
    "NotAllowedError",
    "ProcessEndedError",
    "ProcessFailedError",
    "RefusedError",
    "TlsError",
    "TooLargeError",
    "UnreachableError",
]


class ClientError(Exception):
    """The base of all errors of the client."""


class AddressError(ClientError):
    """A text that is not the URL of an agent."""


class NoConnectionError(ClientError):
    """The agent does not answer; trying again may help."""


class UnreachableError(NoConnectionError):
    """No connection could be made."""


class TlsError(UnreachableError):
    """TLS did not come about.

    fault: `untrusted` (the certificate of the agent), `certificate` (the agent wants one of ours,
        or another one), `plain` (it speaks no TLS) or `other`.
    """

    def __init__(self, message: str, *, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class ConnectionLostError(NoConnectionError):
    """A connection ended before the answer did, or nothing came in time."""


class BadAnswerError(ClientError):
    """What answers at this address does not speak as an agent does."""


class ProcessEndedError(ClientError):
    """A process was deleted or replaced while the connection was lost.

    Its last lines may not have been seen.
    """


class ProcessFailedError(ClientError):
    """A process will not get into the state that was waited for.

    state: the one that it is in.
    """

    def __init__(self, slug: str, state: str, error: str | None) -> None:
        super().__init__(f"{slug}: {state}" + (f": {error}" if error else ""))
        self.state = state


class RefusedError(ClientError):
    """The agent does not do what it was asked for.

    status: of HTTP.
    detail: one line for a human.
    errors: one line for each fault of the request.
    request_id: names the request in the agent's log.
    """

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[str] = (), request_id: str = ""
    ) -> None:
        super().__init__(detail + "".join(f"; {error}" for error in errors))
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id


class InvalidRequestError(RefusedError):
    """400: the request is wrong; `errors` says where."""


class NotAllowedError(RefusedError):
    """401, 403: a token is missing or wrong, or the agent is not known by this name."""


class NoSuchProcessError(RefusedError):
    """404: no process has this slug."""


class ConflictError(RefusedError):
    """409: the slug is in use, or the process cannot do this in its state."""


class TooLargeError(RefusedError):
    """413: more than the agent takes."""


class BusyError(RefusedError):
    """429, 503: the agent is stopping, or there were too many wrong tokens."""


class DefectError(RefusedError):
    """500: a defect of the agent, whose log says more."""
