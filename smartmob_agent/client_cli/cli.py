"""The command line of `smartmob`: a group whose subcommands are the modules of `commands`."""

from __future__ import annotations

import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from smartmob_agent.client_cli import commands
from smartmob_agent.client_cli.completion import VARIABLE
from smartmob_agent.client_cli.failure import CommandError
from smartmob_agent.client_cli.options import agent_options
from smartmob_agent.client_cli.output import OutputError, report, stdout_failed, write_stderr

__all__ = ["EPILOG", "main"]

EPILOG = """
\b
Which agent: --agent, else SMARTMOB_AGENT, else `default` in the
configuration, else http://127.0.0.1:8080.
Which token: --token-file, else the agent's token_file in the
configuration, else SMARTMOB_TOKEN, else the file SMARTMOB_TOKEN_FILE.
The configuration: SMARTMOB_CONFIG, else ~/.config/smartmob/config.toml.

\b
Exit codes:
    0  done, or left by CTRL-C what has no end by itself
    1  refused by the agent, or failed; run, restart: it did not run for 1 s
    2  wrong use
    3  the agent cannot be reached
    4  no such process
  124  wait: not in time
  130  CTRL-C before it was done
  141  the reader of the output has gone
"""


class Subcommand(click.Command):
    """A subcommand whose module is not imported."""

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the first line of the module, where its docstring begins."""
        source = pkgutil.get_data(commands.__name__, f"{self.name}.py") or b""
        self.help = source.partition(b"\n")[0].decode().strip('"')
        return super().get_short_help_str(limit)


class LazyGroup(click.Group):
    """Imports the module of a subcommand when the subcommand is called, not to list it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            command = import_module(f"{commands.__name__}.{name}").command
        return name, command, rest


@click.group(
    cls=LazyGroup,
    commands=[Subcommand(module.name) for module in pkgutil.iter_modules(commands.__path__)],
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="smartmob-agent", prog_name="smartmob")
@agent_options
@click.pass_context
def cli(context: click.Context, /, **shared: Any) -> None:
    """Run apps on smartmob agents, and see what they do."""
    # Options before the subcommand are defaults for those after it.
    context.default_map = dict.fromkeys(cli.commands, shared)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, `sys.argv` if None, and return the exit code.

    `KeyboardInterrupt` goes to the caller, unlike with click's own `main`.
    """
    if instruction := os.environ.get(VARIABLE):
        from click import shell_completion

        return shell_completion.shell_complete(cli, {}, "smartmob", VARIABLE, instruction)
    try:
        with cli.make_context("smartmob", list(sys.argv[1:] if argv is None else argv)) as context:
            code: int = cli.invoke(context)
            return code
    except click.ClickException as exc:
        message = io.StringIO()
        exc.show(message)
        write_stderr(message.getvalue())
        return exc.exit_code
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except CommandError as error:
        report(error.line)
        return error.code
    except OutputError as exc:
        return stdout_failed(exc.cause)
    except OSError as exc:  # click wrote help.
        return stdout_failed(exc)
