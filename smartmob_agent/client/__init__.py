"""A client of an agent, for trio programs.

::

    async with open_client("http://127.0.0.1:8080") as client:
        process = await client.create(
            app="hello", node="web.0", process_type="web", source_url=url
        )
        async for line in client.attach(process.slug):
            print(line)
"""

from __future__ import annotations

from smartmob_agent.client.apps import AgentApps, App, AppNews, Release, Rollout
from smartmob_agent.client.attachment import Attachment
from smartmob_agent.client.client import Client, open_client
from smartmob_agent.client.documents import Change, Exit, Process, Upload
from smartmob_agent.client.errors import (
    AddressError,
    BadAnswerError,
    BusyError,
    ClientError,
    ConflictError,
    ConnectionLostError,
    InternalError,
    InvalidRequestError,
    NoConnectionError,
    NoSuchProcessError,
    NotAllowedError,
    ProcessEndedError,
    ProcessFailedError,
    RefusedError,
    TlsError,
    TooLargeError,
    UnreachableError,
)
from smartmob_agent.client.events import Gap, Happening, Snapshot
from smartmob_agent.client.feed import Feed
from smartmob_agent.client.log import LogPart
from smartmob_agent.client.records import Event, Line, Record

__all__ = [
    "AddressError",
    "AgentApps",
    "App",
    "AppNews",
    "Attachment",
    "BadAnswerError",
    "BusyError",
    "Change",
    "Client",
    "ClientError",
    "ConflictError",
    "ConnectionLostError",
    "Event",
    "Exit",
    "Feed",
    "Gap",
    "Happening",
    "InternalError",
    "InvalidRequestError",
    "Line",
    "LogPart",
    "NoConnectionError",
    "NoSuchProcessError",
    "NotAllowedError",
    "Process",
    "ProcessEndedError",
    "ProcessFailedError",
    "Record",
    "RefusedError",
    "Release",
    "Rollout",
    "Snapshot",
    "TlsError",
    "TooLargeError",
    "UnreachableError",
    "Upload",
    "open_client",
]
