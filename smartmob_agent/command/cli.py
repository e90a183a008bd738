"""The command `smartmob`: what can be said.  Only this module knows click.

What is done is loaded when it is asked for, so that help and completion come at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click import shell_completion

__all__ = ["main"]

_EPILOG = (
    "Exit codes: 0 done, or left by CTRL-C what has no end; 1 refused; 2 wrong use; "
    "3 the agent cannot be reached; 4 no such process; 124 too late; 130 CTRL-C; "
    "141 the reader has gone."
)


_agent = click.option(
    "-a",
    "--agent",
    "agents",
    multiple=True,
    metavar="AGENT",
    help="URL (http, https, unix:PATH) or name of the agent. [SMARTMOB_AGENT]",
)
_token = click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Has the token; SMARTMOB_TOKEN is one.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.")


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="smartmob-agent", prog_name="smartmob")
def cli() -> None:
    """Run apps on smartmob agents, and see what they do."""


def _addressed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which agent is meant, and how it answers."""
    return _agent(_token(_json(function)))


def _go(work: Callable[[], Awaitable[int]], **options: Any) -> None:
    """Run something; ends the program with its exit code."""
    from smartmob_agent.command.runner import run

    sys.exit(run(work, **options))


def _or_exit(read: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Return what is read; ends the program if that fails."""
    from smartmob_agent.command.failure import CommandError
    from smartmob_agent.command.output import note

    try:
        return read(*args, **options)
    except CommandError as error:
        note(error.line)
        sys.exit(error.code)


def _find(agents: Sequence[str], token_file: Path | None) -> Any:
    from smartmob_agent.command.settings import find_agents

    return _or_exit(find_agents, os.environ, agents=agents, token_file=token_file)


def _find_one(agents: Sequence[str], token_file: Path | None) -> Any:
    found = _find(agents, token_file)
    if len(found) > 1:
        raise click.UsageError(f"expected one agent, found {len(found)}")
    return found[0]


def _complete_slug(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Ask the agent which processes there are; without an answer there is nothing to offer."""
    from smartmob_agent.command.completion import slugs

    return slugs(os.environ, ctx.params.get("agents") or (), incomplete)


@cli.command()
@_addressed
def ps(agents: Sequence[str], token_file: Path | None, as_json: bool) -> None:
    """List processes.  In a pipe: slug, state, pid, restarts, start, exit, error, agent."""
    from smartmob_agent.command.processes import list_processes

    _go(partial(list_processes, _find(agents, token_file), as_json=as_json))


@cli.command()
@click.argument("slug", shell_complete=_complete_slug)
@_addressed
def status(agents: Sequence[str], token_file: Path | None, as_json: bool, slug: str) -> None:
    """Show one process."""
    from smartmob_agent.command.processes import show_status

    _go(partial(show_status, _find_one(agents, token_file), slug, as_json=as_json))


@cli.command()
@click.argument("slugs", nargs=-1, metavar="SLUG...", shell_complete=_complete_slug)
@click.option("--all", "everything", is_flag=True, help="All processes of the agent.")
@_addressed
def rm(
    agents: Sequence[str],
    token_file: Path | None,
    as_json: bool,
    slugs: Sequence[str],
    everything: bool,
) -> None:
    """Delete processes; each is written when nothing of it is left."""
    if bool(slugs) == everything:
        raise click.UsageError("expected either SLUG... or --all")
    from smartmob_agent.command.processes import remove

    agent = _find_one(agents, token_file)
    _go(partial(remove, agent, slugs, everything=everything, as_json=as_json))


@cli.command()
@click.argument("slugs", nargs=-1, required=True, metavar="SLUG...", shell_complete=_complete_slug)
@click.option("-f", "--follow", is_flag=True, help="Go on; CTRL-C leaves, and stops nothing.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@_addressed
def logs(
    agents: Sequence[str],
    token_file: Path | None,
    as_json: bool,
    slugs: Sequence[str],
    follow: bool,
    tail: int | None,
) -> None:
    """Show the output of processes, as far as the agent still has it."""
    from smartmob_agent.command.failure import DETACHED, INTERRUPTED
    from smartmob_agent.command.logs import show_logs

    found = _find(agents, token_file)
    work = partial(show_logs, found, slugs, follow=follow, tail=tail, as_json=as_json)
    _go(work, interrupted=DETACHED if follow else INTERRUPTED)


@cli.command()
@click.argument("source", metavar="DIR|ARCHIVE|URL")
@click.option("--type", "process_type", default="web", show_default=True, help="In the Procfile.")
@click.option("--app", metavar="NAME", help="Default: from the name of what is run.")
@click.option("--node", metavar="NAME", help="Default: the type and .0; slug = app.node.")
@click.option("-e", "--env", "given", multiple=True, metavar="K=V", help="A variable; K: as here.")
@click.option(
    "--env-file", "files", multiple=True, type=click.Path(path_type=Path), help="Lines of K=V."
)
@click.option("--attach", is_flag=True, help="Go on with its output; CTRL-C leaves it running.")
@_addressed
def run(
    agents: Sequence[str],
    token_file: Path | None,
    as_json: bool,
    given: Sequence[str],
    files: Sequence[Path],
    **options: Any,
) -> None:
    """Run an app; a directory is packed without what .gitignore names, and uploaded."""
    from smartmob_agent.command.failure import DETACHED, INTERRUPTED
    from smartmob_agent.command.launch import launch
    from smartmob_agent.command.variables import read_variables

    agent = _find_one(agents, token_file)
    env = _or_exit(read_variables, given, files, os.environ)
    work = partial(launch, agent, env=env, as_json=as_json, **options)
    _go(work, interrupted=DETACHED if options["attach"] else INTERRUPTED)


@cli.command()
@click.argument("slug", shell_complete=_complete_slug)
@_addressed
def restart(agents: Sequence[str], token_file: Path | None, as_json: bool, slug: str) -> None:
    """Start a process again, now; returns when it runs or has failed."""
    from smartmob_agent.command import control

    _go(partial(control.restart, _find_one(agents, token_file), slug, as_json=as_json))


@cli.command()
@click.argument("slug", shell_complete=_complete_slug)
@click.option("--state", "states", multiple=True, default=["running"], show_default=True)
@click.option("--timeout", type=click.FloatRange(0), metavar="S", help="Give up after S seconds.")
@_addressed
def wait(
    agents: Sequence[str], token_file: Path | None, as_json: bool, slug: str, **options: Any
) -> None:
    """Wait until a process is in a state; gone is one, and --state may be given again."""
    from smartmob_agent.command import control

    agent = _find_one(agents, token_file)
    _go(partial(control.wait, agent, slug, as_json=as_json, **options))


@cli.command()
@click.argument("slugs", nargs=-1, metavar="[SLUG...]", shell_complete=_complete_slug)
@_addressed
def events(
    agents: Sequence[str], token_file: Path | None, as_json: bool, slugs: Sequence[str]
) -> None:
    """Write what happens to processes from now on; CTRL-C leaves."""
    from smartmob_agent.command.control import show_events
    from smartmob_agent.command.failure import DETACHED

    agent = _find_one(agents, token_file)
    _go(partial(show_events, agent, slugs, as_json=as_json), interrupted=DETACHED)


@cli.command("open")
@click.option("--print", "only_print", is_flag=True, help="Write the URL, open no browser.")
@_agent
@_token
def open_(agents: Sequence[str], token_file: Path | None, only_print: bool) -> None:
    """Write the URL of the agent; on a terminal, open it in a browser."""
    from smartmob_agent.command.browse import browse

    sys.exit(browse(_find_one(agents, token_file), only_print=only_print))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write what makes a shell complete: eval "$(smartmob completion bash)"."""
    complete = shell_completion.get_completion_class(shell) or shell_completion.BashComplete
    click.echo(complete(cli, {}, "smartmob", "_SMARTMOB_COMPLETE").source())


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was asked for and return the exit code."""
    # httpx would load its own command, and with it rich, which takes 0.1 s.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: no such module
    try:
        cli.main(args=argv, prog_name="smartmob")
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0
