"""A command that runs once, as if it ran here: its output, its exit code, and nothing is left."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import trio

from smartmob_agent.client import (
    Client,
    ClientError,
    ConflictError,
    Line,
    NoSuchProcessError,
    Process,
    ProcessFailedError,
)
from smartmob_agent.client.documents import FAILURES, GONE
from smartmob_agent.client.events import state_in
from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.output import report, write_bytes, write_stderr

__all__ = ["exit_code_of", "run_once"]

_NODES = 1000
"""Runs of one app at the same time."""

_DELETE_TIMEOUT = 30.0
"""Seconds to wait for the end of what was interrupted; the agent goes on with it."""

_OUTPUT_TIMEOUT = 60.0
"""Seconds to wait for the end of the output once the process has finished, however slow we are."""

_SIGNALLED = 128
"""The exit code of a shell for a command that a signal has ended: so much and its number."""


async def run_once(
    client: Client, create: Callable[[Client, str], Awaitable[Process]], node: str | None
) -> int:
    """Run a process that is not started again, write its output, and return its exit code.

    create: creates it on a node.
    node: None for the first of `run.0`, `run.1`, … that is free.

    Raises `ProcessFailedError` when it cannot run, and `CommandError` when nothing is free.

    If cancelled, and in every other case: the process is deleted.
    """
    process = await _create(client, create, node)
    failures: list[ClientError] = []
    written = trio.Event()
    code = 1
    try:
        async with trio.open_nursery() as nursery:

            async def stop_at_failure(work: Callable[[], Awaitable[None]]) -> None:
                try:
                    await work()
                except ClientError as exc:
                    failures.append(exc)
                    nursery.cancel_scope.cancel(reason="the other one makes no sense alone")

            async def finish() -> None:
                nonlocal code
                await _wait_finished(client, process.slug)
                code = exit_code_of(await client.status(process.slug))
                with trio.move_on_after(_OUTPUT_TIMEOUT):
                    await written.wait()
                await client.delete(process.slug)  # With it ends the output.

            nursery.start_soon(
                stop_at_failure, partial(_write_output, client, process.slug, written)
            )
            nursery.start_soon(stop_at_failure, finish)
        if failures:
            raise failures[0]  # noqa: TRY301  # As what comes from outside
    except BaseException:
        with trio.move_on_after(_DELETE_TIMEOUT, shield=True), suppress(ClientError):
            await client.delete(process.slug)
        raise
    return code


def exit_code_of(process: Process) -> int:
    """Return the exit code by which a shell tells how a child has ended."""
    exit_ = process.exit
    if exit_ is None:
        return 1
    if exit_.signal is None:
        return exit_.code or 0
    name, _, offset = exit_.signal.partition("+")
    try:
        return _SIGNALLED + signal.Signals[name] + int(offset or 0)
    except KeyError:  # One that this machine does not know.
        return _SIGNALLED


async def _create(
    client: Client, create: Callable[[Client, str], Awaitable[Process]], node: str | None
) -> Process:
    if node is not None:
        return await create(client, node)
    for number in range(_NODES):
        try:
            return await create(client, f"run.{number}")
        except ConflictError:
            pass
    raise CommandError(f"there are {_NODES} runs of this app: smartmob ps lists them")


async def _wait_finished(client: Client, slug: str) -> None:
    async with client.events(slugs=[slug]) as events:
        async for happening in events:
            state, error, _ = state_in(happening)
            if state == "finished":
                return
            if state in FAILURES or state == GONE:
                raise ProcessFailedError(slug, state, error)
            if state == "backoff":
                report(f"{slug}: {error}; it is tried again")
    # It deletes its processes first, and tells that, unless the connection ends before.
    raise ProcessFailedError(slug, "the agent has stopped", None)  # pragma: no cover


async def _write_output(client: Client, slug: str, written: trio.Event) -> None:
    """Write each stream to the same one here, until the process is deleted.

    written: is set when the output of the child is complete.
    """
    with suppress(NoSuchProcessError):  # It was deleted before its output was asked for.
        async with client.records(slug, after=0) as records:
            async for record in records:
                if isinstance(record, Line) and record.stream == "stderr":
                    write_stderr(f"{record.text}\n")
                elif isinstance(record, Line):
                    write_bytes(f"{record.text}\n".encode("utf-8", "replace"))
                elif record.name == "exited":
                    written.set()
                elif record.name == "dropped":
                    report(f"{slug}: {record.fields.get('lines')} lines are lost")
