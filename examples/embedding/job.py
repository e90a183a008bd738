"""A program that uses the agent to run a job until it has succeeded, and no longer."""

from __future__ import annotations

import trio

from smartmob_agent import Agent, Exit, ProcessSpec, State

__all__ = ["JobFailedError", "run_job"]

_OVER = (
    State.BACKOFF,
    State.DOWNLOAD_FAILURE,
    State.UNPACK_FAILURE,
    State.NO_PROCFILE,
    State.INVALID_PROCFILE,
    State.UNKNOWN_PROCESS_TYPE,
)


class JobFailedError(Exception):
    """The job has not succeeded, and is not going to."""


async def run_job(agent: Agent, spec: ProcessSpec, *, tries: int = 3) -> int:
    """Run a process until its child ends with 0; return how many children that took.

    Raises `JobFailedError` after so many children, or when there can be none.

    In any case, also if cancelled, nothing of it is left.
    """
    process = agent.supervisor.create(spec)
    try:
        while True:
            await process.wait_state(*_OVER)
            if process.exit == Exit(code=0):
                return process.starts
            if process.state is not State.BACKOFF or process.starts >= tries:
                raise JobFailedError(process.error)
            await process.wait_state(State.RUNNING)
    finally:
        process.stop()
        # Bounded by the stop time-out of the agent and a few seconds.
        with trio.CancelScope(shield=True):
            await process.wait_state(State.GONE)
