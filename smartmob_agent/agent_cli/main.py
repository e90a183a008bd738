"""The agent as a command: surroundings, signals, exit codes."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

import attrs
import trio

from smartmob_agent.agent import Agent, serve
from smartmob_agent.agent_cli.clock import PatientClock
from smartmob_agent.agent_cli.logs import open_logging
from smartmob_agent.agent_cli.options import Options
from smartmob_agent.agent_cli.signals import outlive_signals, release_signals
from smartmob_agent.agent_cli.systemd import Notifier
from smartmob_agent.child.cgroup import find_delegated_cgroup
from smartmob_agent.child.limits import (
    default_max_processes,
    default_user_processes,
    raise_open_files,
)
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import StartError
from smartmob_agent.http.listeners import find_handed_over

__all__ = ["run"]

logger = logging.getLogger(__name__)

_STOPPED, _FAILED = 0, 1
"""Exit codes; a wrong use is 2."""

_SAME_REQUEST = 1.0
"""Seconds within which a second signal is the first one told twice: timeout(1), npm and shells
signal a command and its process group."""

_KILL_TIMEOUT = 30.0
"""Seconds from the second signal to the end, whatever holds it up: 15 s for what SIGKILL does not
end, 10 s for the guard, and some for files and clients are as long as it takes in order."""


def run(options: Options, environ: Mapping[str, str]) -> int:
    """Run the agent until SIGINT or SIGTERM and return the exit code.

    The signals may be held back: they are released as soon as they are obeyed.
    """
    with open_logging(options.log.log_format, options.log.log_level) as flush_logs:
        try:
            config = _with_surroundings(options.config, environ)
            gc.freeze()  # What was imported stays; to look at all of it again takes 20 ms or more.
            notifier = Notifier.of(environ, os.getpid())
            return trio.run(_run, config, notifier, flush_logs, clock=PatientClock())
        except* StartError as group:
            error = _first(group)
        logger.critical("start failed", extra={"error": str(error)})
        return _FAILED


def _with_surroundings(config: AgentConfig, environ: Mapping[str, str]) -> AgentConfig:
    """Take what is there: sockets and a cgroup of systemd, the user's room for processes, files."""
    containment = config.containment
    if containment.cgroup is None:
        containment = attrs.evolve(containment, cgroup=find_delegated_cgroup())
    if containment.max_processes is None:
        containment = attrs.evolve(containment, max_processes=default_max_processes())
    if containment.max_user_processes is None:
        containment = attrs.evolve(containment, max_user_processes=default_user_processes())
    containment = attrs.evolve(containment, open_files=raise_open_files())
    return attrs.evolve(
        config, containment=containment, descriptors=find_handed_over(environ, os.getpid())
    )


def _first(group: BaseExceptionGroup[StartError]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(config: AgentConfig, notifier: Notifier, flush_logs: Callable[[], object]) -> int:
    signals = {signal.SIGINT, signal.SIGTERM}
    if config.security.token_file is not None or config.security.tls_cert is not None:
        # Only then: the end of its terminal must not leave an agent that nobody looks after.
        signals.add(signal.SIGHUP)
    codes = [_STOPPED]
    outlive_signals(signals)
    with trio.open_signal_receiver(*signals) as arrivals:
        release_signals()
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as nursery:
                agent: Agent = await nursery.start(serve, config)
                # Who sees `memory` knows that a restart of the agent forgets all processes.
                state = "memory" if config.state_dir is None else str(config.state_dir)
                for url in agent.urls:
                    extra = {"url": url, "containment": agent.containment, "state": state}
                    logger.info("bind", extra=extra)
                watch.start_soon(partial(_obey, arrivals, agent, codes, flush_logs=flush_logs))
                watch.start_soon(notifier.run, agent.wait_stop)
            watch.cancel_scope.cancel(reason="the agent has ended")
    return max(codes)


async def _obey(
    arrivals: AsyncIterator[int],
    agent: Agent,
    codes: list[int],
    *,
    flush_logs: Callable[[], object],
    give_up: Callable[[int], object] = os._exit,
) -> None:
    """The first signal asks the agent to stop, a later one kills; SIGHUP reloads.

    A second signal within `_SAME_REQUEST` seconds is the same request.

    flush_logs: called before `give_up`.
    give_up: called with the exit code when not even the second one has ended it in time.  What
        it does not see to is seen to by the guard, which finds it gone.
    """
    stop_time: float | None = None
    async with trio.open_nursery() as reloads:
        async for number in arrivals:  # pragma: no branch  -- it never ends by itself
            name = signal.Signals(number).name
            if number == signal.SIGHUP:
                # In a task of its own: no disk may keep a signal from being obeyed.
                reloads.start_soon(agent.reload)
            elif stop_time is None:
                stop_time = trio.current_time()
                logger.info("stop", extra={"signal": name})
                agent.stop()
            elif trio.current_time() - stop_time >= _SAME_REQUEST:
                logger.warning("kill", extra={"signal": name})
                codes.append(_FAILED)
                agent.kill()
                break
        await trio.sleep(_KILL_TIMEOUT)  # cancelled when the agent has ended
    logger.critical("gave up", extra={"after": _KILL_TIMEOUT})
    flush_logs()
    give_up(_FAILED)
