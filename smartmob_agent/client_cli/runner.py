"""Runs what was asked for, and says in one line what went wrong."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import trio

from smartmob_agent.client import (
    Client,
    ClientError,
    ConnectionLostError,
    NoSuchProcessError,
    open_client,
)
from smartmob_agent.client_cli.failure import (
    CERTIFICATE_HINT,
    DETACHED,
    INTERRUPTED,
    CommandError,
    DetachedError,
    explain,
    suggest,
)
from smartmob_agent.client_cli.output import OutputError, give_up, note, say_behind_ctrl_c
from smartmob_agent.client_cli.settings import Settings

__all__ = ["Work", "endless", "run", "with_client"]

E = TypeVar("E", bound=BaseException)
Work = Callable[[Client], Awaitable[int]]


def run(work: Callable[[], Awaitable[int]]) -> int:
    """Run to the end and return the exit code."""
    _show_losses()
    code = 0
    try:
        code = trio.run(work)
    except* CommandError as group:
        error = _first(group)
        note(error.line)
        code = error.code
    except* OutputError as group:
        code = give_up(_first(group).cause)
    except* DetachedError:
        say_behind_ctrl_c("left; what runs goes on")
        code = DETACHED
    except* KeyboardInterrupt:
        say_behind_ctrl_c("interrupted")
        code = INTERRUPTED
    return code


@contextmanager
def endless() -> Iterator[None]:
    """Do what has no end by itself: in here CTRL-C is a good one, and raises `DetachedError`."""
    try:
        yield
    except* KeyboardInterrupt:
        raise DetachedError from None


async def with_client(settings: Settings, work: Work, *, slug: str = "") -> int:
    """Do something with one agent; raises `CommandError` for all that the client raises.

    slug: the process that it is about, if any.
    """
    try:
        async with open_client(settings.url, token=settings.token, tls=settings.tls()) as client:
            try:
                return await work(client)
            except NoSuchProcessError as exc:
                missing = exc
            error = explain(missing)
            error.hint = suggest(slug, [p.slug for p in await client.list_processes()])
            raise error from missing
    except ClientError as exc:
        error = explain(exc)
        if isinstance(exc, ConnectionLostError) and settings.without_certificate:
            # Agents and others that want one may hang up without a word.
            error.hint = f"does it want a certificate? {CERTIFICATE_HINT}"
        raise error from exc


class _Losses(logging.Handler):
    """Says on stderr that a connection was lost, and is back."""

    def emit(self, record: logging.LogRecord) -> None:
        what = getattr(record, "what", "")
        error = getattr(record, "error", "")
        note(f"{what}: {record.getMessage()}" + (f": {error}; trying again" if error else ""))


def _show_losses() -> None:
    logger = logging.getLogger("smartmob_agent.client.reconnect")
    logger.handlers[:] = [_Losses()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _first(group: BaseExceptionGroup[E]) -> E:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
