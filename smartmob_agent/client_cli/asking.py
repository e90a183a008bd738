"""What the command says of itself: the end of its help, and what a shell may complete."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["EPILOG", "complete_agent", "complete_slug", "complete_state"]

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
    1  refused by the agent, or failed
    2  wrong use
    3  the agent cannot be reached
    4  no such process
  124  wait: not in time
  130  CTRL-C before it was done
  141  the reader of the output has gone
"""


def complete_agent(_context: object, _parameter: object, incomplete: str) -> list[str]:
    """Offer the names in the file."""
    from smartmob_agent.client_cli.completion import agents

    return agents(os.environ, incomplete)


def complete_slug(context: Any, _parameter: object, incomplete: str) -> list[str]:
    """Ask the agents which processes there are; without an answer there is nothing to offer.

    context: click's, with what stands before this word; its parent has what is before the command.
    """
    from smartmob_agent.client_cli.completion import slugs

    given = {**context.parent.params, **{k: v for k, v in context.params.items() if v}}
    return slugs(
        os.environ, incomplete, agents=given["agents"] or (), token_file=given["token_file"]
    )


def complete_state(_context: object, _parameter: object, incomplete: str) -> list[str]:
    """Offer the states."""
    from smartmob_agent.client_cli.completion import states

    return states(incomplete)
