"""The command `smartmob-agent`: options, signals, exit codes."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence

import trio

from smartmob_agent.config import AgentConfig
from smartmob_agent.errors import StartError
from smartmob_agent.logs import configure_logging
from smartmob_agent.options import parse_options
from smartmob_agent.serve import Agent, serve

__all__ = ["main"]

logger = logging.getLogger(__name__)

_STOPPED, _FAILED = 0, 1
"""Exit codes; argparse adds 2 for a wrong use."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the agent until SIGINT or SIGTERM and return the exit code."""
    options = parse_options(argv, environ)
    configure_logging(options.log_format, options.log_level)
    try:
        return trio.run(_run, options.config)
    except* StartError as group:
        error = _first(group)
    logger.critical("start failed", extra={"error": str(error)})
    return _FAILED


def _first(group: BaseExceptionGroup[StartError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(config: AgentConfig) -> int:
    codes = [_STOPPED]
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as nursery:
                agent: Agent = await nursery.start(serve, config)
                for url in agent.urls:
                    logger.info("bind", extra={"url": url})
                watch.start_soon(_obey, signals, agent, codes)
            watch.cancel_scope.cancel(reason="the agent has ended")
    return max(codes)


async def _obey(signals: AsyncIterator[int], agent: Agent, codes: list[int]) -> None:
    """The first signal asks the agent to stop, the second one kills its children."""
    first = signal.Signals(await anext(signals))
    logger.info("stop", extra={"signal": first.name})
    agent.stop()
    second = signal.Signals(await anext(signals))
    logger.warning("kill", extra={"signal": second.name})
    codes.append(_FAILED)
    agent.kill()
    await trio.sleep_forever()
