"""What can go wrong between a client and its agent.

::

    ClientError
    ├── AddressError            not the URL of an agent
    ├── NoConnectionError       a retry may help
    │   ├── UnreachableError    no connection could be made
    │   │   └── TlsError        the TLS handshake failed
    │   └── ConnectionLostError a connection ended too early
    ├── BadAnswerError          the answer is not that of an agent, or of an incompatible one
    ├── ProcessEndedError       the process was deleted or replaced while the connection was lost
    ├── ProcessFailedError      the process cannot reach the state that was waited for
    └── RefusedError            the agent rejects the request: a problem document (RFC 9457)
        ├── InvalidRequestError 400
        ├── NotAllowedError     401, 403
        ├── NoSuchProcessError  404
        ├── ConflictError       409
        ├── TooLargeError       413
        ├── BusyError           429, 503
        └── InternalError       500

Every message is one line and holds neither a token nor the query of a URL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = [
    "AddressError",
    "BadAnswerError",
    "BusyError",
    "ClientError",
    "ConflictError",
    "ConnectionLostError",
    "InternalError",
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
    """The agent does not answer; a retry may help."""


class UnreachableError(NoConnectionError):
    """No connection could be made."""


class TlsError(UnreachableError):
    """The TLS handshake failed.

    fault: `untrusted` (the certificate of the agent), `certificate` (the agent requires a client
        certificate, or another one), `plain` (the agent speaks no TLS) or `other`.
    """

    def __init__(self, message: str, *, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class ConnectionLostError(NoConnectionError):
    """A connection ended before the answer did, or nothing came in time."""


class BadAnswerError(ClientError):
    """The answer from this address is not that of an agent."""


class ProcessEndedError(ClientError):
    """A process was deleted or replaced while the connection was lost.

    Its last lines may not have been seen.
    """


class ProcessFailedError(ClientError):
    """A process cannot reach the state that was waited for.

    state: its present state.
    """

    def __init__(self, slug: str, state: str, error: str | None) -> None:
        super().__init__(f"{slug}: {state}" + (f": {error}" if error else ""))
        self.state = state


class RefusedError(ClientError):
    """The agent rejects a request.

    status: the HTTP status.
    detail: one line for a human.
    errors: one line for each fault of the request.
    request_id: the id of the request in the agent's log.
    document: the problem document, which may say more, such as `step` and `lines`.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[str] = (),
        request_id: str = "",
        document: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail + "".join(f"; {error}" for error in errors))
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.document = {} if document is None else document


class InvalidRequestError(RefusedError):
    """400: the request is wrong; `errors` says where."""


class NotAllowedError(RefusedError):
    """401, 403: a token is missing or wrong, or the agent does not go by this host name."""


class NoSuchProcessError(RefusedError):
    """404: no process has this slug."""


class ConflictError(RefusedError):
    """409: the slug is in use, the state of the process does not allow the action, or it failed."""


class TooLargeError(RefusedError):
    """413: the request exceeds a size limit of the agent."""


class BusyError(RefusedError):
    """429, 503: the agent is stopping, or there were too many wrong tokens."""


class InternalError(RefusedError):
    """500: an internal error of the agent, whose log has details."""
