"""Processes as a list, one by one, and no more: `ps`, `status`, `rm`."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from smartmob_agent.client import Client, ClientError, NoSuchProcessError, Process
from smartmob_agent.client_cli.failure import CommandError, explain, suggest
from smartmob_agent.client_cli.output import (
    clean,
    is_terminal,
    note,
    notes_are_of,
    write_json,
    write_rows,
)
from smartmob_agent.client_cli.runner import with_client
from smartmob_agent.client_cli.settings import Settings

__all__ = ["list_processes", "remove", "show_status"]


async def list_processes(agents: Sequence[Settings], *, as_json: bool) -> int:
    """Write all processes of all agents; those that do not answer are told on stderr."""
    found: dict[str, list[Process]] = {}
    codes: list[int] = []

    async def ask(agent: Settings) -> None:
        notes_are_of(agent.name if len(agents) > 1 else "")

        async def work(client: Client) -> int:
            found[agent.name] = await client.list_processes()
            return 0

        try:
            await with_client(agent, work)
        except CommandError as error:
            note(error.line)
            codes.append(error.code)

    async with trio.open_nursery() as nursery:
        for agent in agents:
            nursery.start_soon(ask, agent)
    rows = [(agent.name, process) for agent in agents for process in found.get(agent.name, ())]
    if found:
        _write_list(rows, as_json=as_json, many=len(agents) > 1)
    return max(codes, default=0)


def _write_list(rows: Sequence[tuple[str, Process]], *, as_json: bool, many: bool) -> None:
    if as_json:
        documents = [{**process.document, "agent": agent} for agent, process in rows]
        write_json({"processes": documents})
    elif is_terminal():
        _show_list(rows, many=many)
    else:
        write_rows(
            (
                process.slug,
                process.state,
                process.pid,
                process.restarts,
                process.document.get("started_at"),
                process.exit,
                process.error,
                agent,
            )
            for agent, process in rows
        )


def _show_list(rows: Sequence[tuple[str, Process]], *, many: bool) -> None:
    from smartmob_agent.client_cli.terminal import ago, show_table

    header = ["SLUG", "STATE", "PID", "RESTARTS", "STARTED", "EXIT", *["AGENT"] * many, "ERROR"]
    table = [
        [
            *(clean(cell) for cell in (process.slug, process.state, process.pid, process.restarts)),
            ago(process.started_at),
            clean(process.exit),
            *[agent] * many,
            clean(process.error),
        ]
        for agent, process in rows
    ]
    show_table(header, table)


async def show_status(agent: Settings, slug: str, *, as_json: bool) -> int:
    """Write the status of one process."""

    async def work(client: Client) -> int:
        process = await client.status(slug)
        if as_json:
            write_json(process.document)
            return 0
        document = {**process.document, "exit": process.exit}
        pairs = [(name, clean(value)) for name, value in document.items()]
        if is_terminal():
            from smartmob_agent.client_cli.terminal import show_pairs

            show_pairs(pairs)
        else:
            write_rows(pairs)
        return 0

    return await with_client(agent, work, slug=slug)


async def remove(agent: Settings, slugs: Sequence[str], *, everything: bool, as_json: bool) -> int:
    """Delete processes, all at once; each is written when nothing of it is left."""

    async def work(client: Client) -> int:
        known = [process.slug for process in await client.list_processes()]
        codes: list[int] = []

        async def delete(slug: str) -> None:
            try:
                await client.delete(slug)
            except ClientError as exc:
                error = explain(exc)
                if isinstance(exc, NoSuchProcessError):
                    error.hint = suggest(slug, known)
                note(error.line)
                codes.append(error.code)
            else:
                write_json({"deleted": slug}, indent=None) if as_json else write_rows([[slug]])

        async with trio.open_nursery() as nursery:
            for slug in known if everything else dict.fromkeys(slugs):
                nursery.start_soon(delete, slug)
        return max(codes, default=0)

    return await with_client(agent, work)
