"""Write what makes a shell complete.

For example, in ~/.bashrc: eval "$(smartmob completion bash)"
"""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, get_completion_class

from smartmob_agent.client_cli.completion import VARIABLE

__all__ = ["command"]


@click.command(help=__doc__)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, /, shell: str) -> int:
    complete = get_completion_class(shell) or BashComplete
    click.echo(complete(context.find_root().command, {}, "smartmob", VARIABLE).source())
    return 0
