"""A defect of the agent that it survives is told by its log alone."""

from __future__ import annotations

import logging

from smartmob_agent.testing import Scenario, Trial

__all__ = ["without_errors"]


class _Errors(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(f"{record.name}: {record.getMessage()} {record.exc_info}")


def without_errors(scenario: Scenario) -> Scenario:
    """Let a scenario fail if an error is logged: so the seed and the checkpoint are told."""

    async def run(trial: Trial) -> None:
        errors, logger = _Errors(), logging.getLogger()
        logger.addHandler(errors)
        try:
            await scenario(trial)
        finally:
            logger.removeHandler(errors)
        assert not errors.found, "\n".join(errors.found)

    return run
