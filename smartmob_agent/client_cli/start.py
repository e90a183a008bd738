"""Where the command begins: what may happen before there is anything that could take care of it."""

from __future__ import annotations

__all__ = ["main"]


def main() -> int:
    """Do what was asked for and return the exit code."""
    try:
        # Loaded in here: that takes a quarter of a second, in which a human may press CTRL-C.
        from smartmob_agent.client_cli import cli, output

        output.open_closed()
        return cli.main()
    except KeyboardInterrupt:
        from smartmob_agent.client_cli.output import say_behind_ctrl_c

        say_behind_ctrl_c("interrupted")
        return 130
