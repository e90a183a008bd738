"""The command `smartmob`: what can be said.  Only this module and `options` know click.

What is done is loaded when it is asked for, so that help and completion come at once.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click import shell_completion

from smartmob_agent.client_cli.asking import EPILOG, complete_state
from smartmob_agent.client_cli.entry import find, find_one, finish, variables
from smartmob_agent.client_cli.options import MOST_LINES, Seconds, addressed, slug_, slugs_
from smartmob_agent.client_cli.output import OutputError, give_up, say

__all__ = ["main"]

_COMPLETE = "_SMARTMOB_COMPLETE"
"""The variable by which the script in a shell asks."""


@click.group(
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="smartmob-agent", prog_name="smartmob")
@addressed
@click.pass_context
def cli(context: click.Context, /, **shared: Any) -> None:
    """Run apps on smartmob agents, and see what they do."""
    # They count for the command as if they stood behind it, unless others do.
    context.default_map = dict.fromkeys(cli.commands, shared)


@cli.command()
@addressed
def ps(agents: Sequence[str], token_file: Path | None, as_json: bool) -> None:
    """List processes.

    In a pipe: slug, state, pid, restarts, start, exit, error and agent, with tabs between them.
    --agent may be given more than once.
    """
    from smartmob_agent.client_cli.commands.processes import list_processes

    finish(partial(list_processes, find(agents, token_file), as_json=as_json))


@cli.command()
@slug_
@addressed
def status(agents: Sequence[str], token_file: Path | None, as_json: bool, slug: str) -> None:
    """Show one process."""
    from smartmob_agent.client_cli.commands.processes import show_status

    finish(partial(show_status, find_one(agents, token_file), slug, as_json=as_json))


@cli.command()
@slugs_()
@click.option("--all", "everything", is_flag=True, help="All processes of the agent.")
@addressed
def rm(
    agents: Sequence[str],
    token_file: Path | None,
    as_json: bool,
    slugs: Sequence[str],
    everything: bool,
) -> None:
    """Delete processes.

    Each slug is written when nothing of its process is left.
    """
    if bool(slugs) == everything:
        raise click.UsageError("expected either SLUG... or --all")
    from smartmob_agent.client_cli.commands.processes import remove

    agent = find_one(agents, token_file)
    finish(partial(remove, agent, slugs, everything=everything, as_json=as_json))


@cli.command()
@slugs_(required=True)
@click.option("-f", "--follow", is_flag=True, help="Go on; CTRL-C leaves, and stops nothing.")
@click.option(
    "--tail", type=click.IntRange(0, MOST_LINES), metavar="N", help="Only the last N lines."
)
@addressed
def logs(agents: Sequence[str], token_file: Path | None, follow: bool, **options: Any) -> None:
    """Show the output of processes.

    As far as the agent still has it; --agent may be given more than once.
    """
    from smartmob_agent.client_cli.commands.logs import show_logs

    found = find(agents, token_file)
    finish(partial(show_logs, found, follow=follow, **options))


@cli.command()
@click.argument("source", type=click.Path(), metavar="DIR|ARCHIVE|URL")
@click.option(
    "--type", "process_type", default="web", show_default=True, metavar="TYPE", help="In Procfile."
)
@click.option("--app", metavar="NAME", help="Default: from the name of what is run.")
@click.option("--node", metavar="NAME", help="Default: TYPE.0; the slug is APP.NODE.")
@click.option("-e", "--env", "given", multiple=True, metavar="K=V", help="Variable; K: as here.")
@click.option(
    "--env-file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with lines of K=V.",
)
@click.option("--sha256", metavar="DIGEST", help="What the archive must have.")
@click.option("--attach", is_flag=True, help="Go on with its output; CTRL-C leaves it running.")
@addressed
def run(
    agents: Sequence[str],
    token_file: Path | None,
    given: Sequence[str],
    files: Sequence[Path],
    attach: bool,
    **options: Any,
) -> None:
    """Run an app.

    A directory is packed, without what .gitignore names, and uploaded.  The slug is written.
    Ends with 0 when it runs, or is tried again (then stderr says why); with 1 when it has failed.
    """
    from smartmob_agent.client_cli.commands.run import launch

    agent, env = find_one(agents, token_file), variables(given, files)
    finish(partial(launch, agent, env=env, attach=attach, **options))


@cli.command()
@slug_
@addressed
def restart(agents: Sequence[str], token_file: Path | None, as_json: bool, slug: str) -> None:
    """Start a process again, now.

    Returns when it runs or has failed.
    """
    from smartmob_agent.client_cli.commands import control

    finish(partial(control.restart, find_one(agents, token_file), slug, as_json=as_json))


@cli.command()
@slug_
@click.option(
    "--state",
    "states",
    multiple=True,
    default=["running"],
    show_default=True,
    metavar="STATE",
    help="One of the states, or gone; may be given again.",
    shell_complete=complete_state,
)
@click.option("--timeout", type=Seconds(0), metavar="S", help="Give up after S seconds.")
@addressed
def wait(agents: Sequence[str], token_file: Path | None, slug: str, **options: Any) -> None:
    """Wait until a process is in a state."""
    from smartmob_agent.client_cli.commands import control

    finish(partial(control.wait, find_one(agents, token_file), slug, **options))


@cli.command()
@slugs_(metavar="[SLUG...]")
@click.option("--app", "apps", multiple=True, metavar="APP", help="Processes of this app.")
@addressed
def events(agents: Sequence[str], token_file: Path | None, **options: Any) -> None:
    """Show what happens to processes.

    From now on, until CTRL-C; to all processes, or to those that are named.
    """
    from smartmob_agent.client_cli.commands.control import show_events

    finish(partial(show_events, find_one(agents, token_file), **options))


@cli.command("open")
@click.option("--print", "only_print", is_flag=True, help="Write the URL, open no browser.")
@addressed
def open_(agents: Sequence[str], token_file: Path | None, **options: Any) -> None:
    """Open the agent in a browser.

    Writes its URL; a browser is opened on a terminal alone.
    """
    from smartmob_agent.client_cli.commands.open import browse

    sys.exit(browse(find_one(agents, token_file), **options))


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Write what makes a shell complete.

    For example, in ~/.bashrc: eval "$(smartmob completion bash)"
    """
    complete = shell_completion.get_completion_class(shell) or shell_completion.BashComplete
    click.echo(complete(cli, {}, "smartmob", _COMPLETE).source())


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was asked for and return the exit code.

    CTRL-C is not taken care of, as click's own `main` would do.
    """
    # httpx would load its own command, and with it rich, which takes 0.1 s.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: no such module
    if instruction := os.environ.get(_COMPLETE):
        return shell_completion.shell_complete(cli, {}, "smartmob", _COMPLETE, instruction)
    try:
        with cli.make_context("smartmob", list(sys.argv[1:] if argv is None else argv)) as context:
            cli.invoke(context)
    except click.ClickException as exc:
        message = io.StringIO()
        exc.show(message)
        say(message.getvalue())
        return exc.exit_code
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else 0
    except OutputError as exc:
        return give_up(exc.cause)
    except OSError as exc:  # click wrote help.
        return give_up(exc)
    return 0
