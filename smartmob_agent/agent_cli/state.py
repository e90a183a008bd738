"""The state of an agent that does not run, as `--check-state` tells it."""

from __future__ import annotations

import sys

from smartmob_agent.apps.record import KIND as APP_KIND, parse_app
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import StartError
from smartmob_agent.process.record import KIND, parse_record
from smartmob_agent.state.check import check_state

__all__ = ["report_state"]


def report_state(config: AgentConfig) -> int:
    """Check the state and print what is in it; return the exit code."""
    assert config.state_dir is not None  # noqa: S101  # The options were checked.
    try:
        report = check_state(config.state_dir)
        for key, value in report.documents.items():
            if key[0] == KIND:
                parse_record(key, value)
            elif key[0] == APP_KIND:
                parse_app(key, value)
    except StartError as exc:
        sys.stderr.write(f"smartmob-agent: {exc}\n")
        return 1
    found = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(report.kinds.items()))
    later = "" if report.version == report.newest else f", to be made version {report.newest}"
    sys.stdout.write(
        f"{report.path}: whole; version {report.version}{later}, revision {report.revision}; "
        f"documents: {found or 'none'}\n"
    )
    return 0
