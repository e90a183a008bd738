"""The state of an agent that does not run, looked at without a change to it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import attrs

from smartmob_agent.errors import StartError
from smartmob_agent.state.schema import SCHEMA, Schema
from smartmob_agent.state.seam import Key, Value
from smartmob_agent.state.state_dir import DATABASE, lock_state_dir
from smartmob_agent.state.verify import look

__all__ = ["StateReport", "check_state"]


@attrs.frozen(kw_only=True)
class StateReport:
    """What is in a directory of state, which is whole.

    newest: the version that the next start makes of `version`.
    documents: key → value.
    """

    path: Path
    version: int
    newest: int
    revision: int
    documents: Mapping[Key, Value]

    @property
    def kinds(self) -> Mapping[str, int]:
        """Kind → number of documents."""
        return Counter(kind for kind, _ in self.documents)


def check_state(directory: Path, *, schema: Schema = SCHEMA) -> StateReport:
    """Check everything that a start of the agent checks, but for what documents say; blocks.

    Raises `StartError` when an agent could not start with this state: it is missing, damaged, in
    use, of a newer version, incomplete.
    """
    path = directory / DATABASE
    if not os.path.lexists(path):
        raise StartError(f"expected the state of an agent in {directory}, found no {DATABASE}")
    with lock_state_dir(directory):
        facts = look(path, schema)
    if facts is None:
        raise StartError(f"cannot check {path}: its disk has no room for 32 KiB, or is read-only")
    return StateReport(
        path=path,
        version=facts.version,
        newest=schema.newest,
        revision=facts.meta.revision,
        documents=facts.documents,
    )
