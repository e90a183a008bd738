"""How each command begins and ends.  What that needs is loaded when it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

if TYPE_CHECKING:  # Help and completion come at once, without these.
    from smartmob_agent.client_cli.settings import Settings

__all__ = ["find", "find_one", "finish", "or_exit", "variables"]

T = TypeVar("T")


def finish(work: Callable[[], Awaitable[int]]) -> NoReturn:
    """Run something; ends the program with its exit code."""
    from smartmob_agent.client_cli.runner import run

    sys.exit(run(work))


def or_exit(read: Callable[[], T]) -> T:
    """Return what is read; ends the program if that fails."""
    from smartmob_agent.client_cli.failure import CommandError
    from smartmob_agent.client_cli.output import note

    try:
        return read()
    except CommandError as error:
        note(error.line)
        sys.exit(error.code)


def find(agents: Sequence[str], token_file: Path | None) -> list[Settings]:
    """Return the agents that are meant; ends the program if that fails."""
    from smartmob_agent.client_cli.settings import find_agents

    return or_exit(lambda: find_agents(os.environ, agents=agents, token_file=token_file))


def find_one(agents: Sequence[str], token_file: Path | None) -> Settings:
    """Return the agent that is meant; ends the program unless it is one."""
    from smartmob_agent.client_cli.failure import WRONG_USE, CommandError

    def one() -> Settings:
        [first, *others] = find(agents, token_file)
        if others:
            found = ", ".join(agent.name for agent in (first, *others))
            raise CommandError(f"expected one agent, found {found}", code=WRONG_USE)
        return first

    return or_exit(one)


def variables(given: Sequence[str], files: Sequence[Path]) -> Mapping[str, str]:
    """Return the variables of a process; ends the program if that fails."""
    from smartmob_agent.client_cli.variables import read_variables

    return or_exit(lambda: read_variables(given, files, os.environ))
