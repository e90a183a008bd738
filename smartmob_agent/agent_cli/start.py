"""The beginning of the command `smartmob-agent`: options first, and the agent after them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from smartmob_agent.agent_cli.options import parse_options
from smartmob_agent.agent_cli.signals import hold_signals, ignore_signals, release_signals

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the agent until SIGINT or SIGTERM and return the exit code."""
    hold_signals()
    try:
        options = parse_options(argv, environ)
    except SystemExit:
        release_signals()
        raise
    if options.check_state:
        release_signals()
        from smartmob_agent.agent_cli.state import report_state

        return report_state(options.config)
    # To load it takes most of a second, and help needs nothing of it.
    from smartmob_agent.agent_cli.main import run

    code = run(options, environ)
    if argv is None:  # pragma: no branch  -- else the program is not ours
        ignore_signals()
    return code
