"""How a subcommand runs: which agents, with a client, to an exit code.

trio and the client are imported here when something runs, for `--help` needs neither.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from smartmob_agent.client_cli.failure import (
    CERTIFICATE_HINT,
    DETACHED,
    INTERRUPTED,
    WRONG_USE,
    CommandError,
    DetachedError,
    explain,
    suggest,
)
from smartmob_agent.client_cli.output import OutputError, report, report_ctrl_c, stdout_failed

if TYPE_CHECKING:
    from smartmob_agent.client import Client
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["detachable", "run", "select_agent", "select_agents", "with_client"]

E = TypeVar("E", bound=BaseException)


def select_agents(agents: Sequence[str], token_file: str | None) -> list[Settings]:
    """Return the agents that options, environment and configuration select.

    Raises `CommandError`.
    """
    from smartmob_agent.client_cli.settings import find_agents

    return find_agents(os.environ, agents=agents, token_file=token_file)


def select_agent(agents: Sequence[str], token_file: str | None) -> Settings:
    """Return the only selected agent; raises `CommandError` if there are several."""
    [first, *others] = select_agents(agents, token_file)
    if others:
        found = ", ".join(agent.name for agent in (first, *others))
        raise CommandError(f"expected one agent, found {found}", code=WRONG_USE)
    return first


def run(work: Callable[[], Awaitable[int]]) -> int:
    """Run an async function and return its exit code; a failure is one line on stderr."""
    import trio

    # Before the run: CTRL-C during an import does not detach from anything yet.
    import_module("smartmob_agent.client")
    _report_reconnects()
    code = 0
    try:
        code = trio.run(work)
    except* CommandError as group:
        error = _first(group)
        report(error.line)
        code = error.code
    except* OutputError as group:
        code = stdout_failed(_first(group).cause)
    except* DetachedError:
        report_ctrl_c("left; what runs goes on")
        code = DETACHED
    except* KeyboardInterrupt:
        report_ctrl_c("interrupted")
        code = INTERRUPTED
    return code


@contextmanager
def detachable() -> Iterator[None]:
    """Run a block that has no end by itself: CTRL-C in it raises `DetachedError`, a success."""
    try:
        yield
    except* KeyboardInterrupt:
        raise DetachedError from None


async def with_client(
    settings: Settings, work: Callable[[Client], Awaitable[int]], *, slug: str = ""
) -> int:
    """Call a function with a client of an agent; raises `CommandError` for each `ClientError`.

    slug: the process that the call is about, if any.
    """
    from smartmob_agent.client import (
        ClientError,
        ConnectionLostError,
        NoSuchProcessError,
        open_client,
    )

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
            # Servers that require a client certificate may close the connection without an alert.
            error.hint = f"does it want a certificate? {CERTIFICATE_HINT}"
        raise error from exc


def _report_reconnects() -> None:
    """Report on stderr when a connection is lost, and when it is back."""
    import logging

    class Reporter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            what = getattr(record, "what", "")
            error = getattr(record, "error", "")
            report(f"{what}: {record.getMessage()}" + (f": {error}; trying again" if error else ""))

    logger = logging.getLogger("smartmob_agent.client.reconnect")
    logger.handlers[:] = [Reporter()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _first(group: BaseExceptionGroup[E]) -> E:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
