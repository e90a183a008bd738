"""What processes should do, said once more and without tasks: a model to compare them with.

A process waits for the world (a download, an unpacking, a start), for a moment, or for nothing.
What the world answers and how time passes are the steps of the model.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Iterator

import attrs

from smartmob_agent.child.seam import Exit
from smartmob_agent.output.console import ConsoleEnd
from smartmob_agent.process.policies import RestartPolicy
from smartmob_agent.process.states import FAILURES, REPEATABLE, State

__all__ = ["BUILT", "POLICIES", "Answer", "Model", "ModelProcess", "Waiting"]

STOP_TIMEOUT = 10.0
STEADY_UPTIME = 10.0
KILLED = Exit(signal=signal.SIGKILL)


class Waiting(enum.Enum):
    """What a process waits for the world to answer."""

    DOWNLOAD = "download"
    UNPACK = "unpack"
    BUILD = "build"
    SPAWN = "spawn"


POLICIES = {"b": RestartPolicy.ON_FAILURE, "c": RestartPolicy.NEVER}
"""By slug; others are always started again."""


class Answer(enum.Enum):
    """What the world may answer."""

    GOOD = "good"
    PASSING = "passing"
    DEFECT = "defect"
    NO_ARCHIVE = "no archive"
    DAMAGED = "damaged"
    TOO_BIG_PROCFILE = "too big a Procfile"
    NO_ROOT = "no such root"
    NO_PROCFILE = "no Procfile"
    BROKEN_PROCFILE = "a broken Procfile"
    OTHER_TYPES = "other process types"
    MISSING_VARIABLE = "a variable that nobody has set"
    BROKEN_BUILD = "a build that fails"


FINAL = {
    Answer.NO_ARCHIVE: State.DOWNLOAD_FAILURE,
    Answer.DAMAGED: State.UNPACK_FAILURE,
    Answer.TOO_BIG_PROCFILE: State.INVALID_PROCFILE,
    Answer.NO_ROOT: State.NO_PROCFILE,
    Answer.NO_PROCFILE: State.NO_PROCFILE,
    Answer.BROKEN_PROCFILE: State.INVALID_PROCFILE,
    Answer.OTHER_TYPES: State.UNKNOWN_PROCESS_TYPE,
    Answer.MISSING_VARIABLE: State.INVALID_APP_JSON,
    Answer.BROKEN_BUILD: State.BUILD_FAILURE,
}
BUILT = "b"
"""The slug of the processes that are built."""
FAULTS = frozenset(
    {
        Answer.PASSING,
        Answer.DEFECT,
        Answer.NO_ARCHIVE,
        Answer.DAMAGED,
        Answer.TOO_BIG_PROCFILE,
    }
)
"""Of an unpacking itself, not of what it brings."""
ANSWERS = {
    Waiting.DOWNLOAD: (Answer.GOOD, Answer.PASSING, Answer.DEFECT, Answer.NO_ARCHIVE),
    Waiting.UNPACK: tuple(answer for answer in Answer if answer is not Answer.BROKEN_BUILD),
    Waiting.BUILD: (Answer.GOOD, Answer.PASSING, Answer.BROKEN_BUILD),
    Waiting.SPAWN: (Answer.GOOD, Answer.PASSING, Answer.DEFECT),
}


@attrs.define(eq=False)
class ModelProcess:
    """One process.

    due: when it does the next thing by itself: tries again, or kills its child.
    lines: what its console has had since somebody follows it; None if nobody does.
    exit: how its last child ended.
    end: why its console ends, once that is clear.
    found: whether the digest of its archive is kept, from an earlier life of the agent.
    """

    slug: str
    state: State = State.DOWNLOADING
    waiting: Waiting | None = Waiting.DOWNLOAD
    starts: int = 0
    has_child: bool = False
    due: float | None = None
    shown: float | None = None
    started: float = 0.0
    bound: float = 1.0
    prepared: bool = False
    has_archive: bool = False
    seen: bool = False
    lines: list[str] | None = None
    exit: Exit | None = None
    end: ConsoleEnd | None = None
    found: bool = False

    def again(self) -> ModelProcess:
        """What the next life of the agent makes of it."""
        found = self.found or self.prepared
        has_run = POLICIES.get(self.slug) is RestartPolicy.NEVER and self.starts > 0
        process = ModelProcess(self.slug, starts=self.starts, found=found, has_archive=found)
        if self.state is State.FINISHED or has_run:
            process.state, process.waiting = State.FINISHED, None
            process.exit = self.exit if self.state is State.FINISHED else None
        elif found:
            process.state, process.waiting = State.UNPACKING, Waiting.UNPACK
        return process

    def answer(self, answer: Answer, now: float) -> None:
        """The world answers what the process waits for."""
        asked, self.waiting = self.waiting, None
        if asked is Waiting.UNPACK and self.seen:  # For a build, and not the first time.
            if answer in FAULTS:
                self._put_off(now, self._next_delay())
            else:
                self.waiting = Waiting.BUILD
        elif answer in FINAL:
            self.state = FINAL[answer]
        elif answer is not Answer.GOOD:
            self._put_off(now, self._next_delay())
        elif asked is Waiting.DOWNLOAD:
            self.has_archive = True
            self.state, self.waiting = State.UNPACKING, Waiting.UNPACK
        elif asked is Waiting.UNPACK and self.slug == BUILT:
            self.seen = True
            self.state, self.waiting = State.BUILDING, Waiting.BUILD
            if self.found:  # An earlier life of the agent has built it.
                self.prepared, self.bound, self.waiting = True, 1.0, Waiting.SPAWN
        elif asked is Waiting.BUILD:
            self.prepared, self.bound, self.waiting = True, 1.0, Waiting.SPAWN
        elif asked is Waiting.UNPACK:
            self.prepared, self.bound = True, 1.0
            self.state, self.waiting = State.PROCESSING, Waiting.SPAWN
        else:
            self.state, self.has_child, self.started = State.RUNNING, True, now
            self.starts += 1

    def end_child(self, how: Exit, now: float) -> None:
        """The child ends by itself."""
        self.has_child, self.exit = False, how
        if self.state is State.STOPPING:
            self._vanish()
        elif self.due is not None:  # It was asked to make way for the next one.
            self._put_off(now, 0.0)
        elif not POLICIES.get(self.slug, RestartPolicy.ALWAYS).restarts_after(how):
            self.state = State.FINISHED
        elif now - self.started >= STEADY_UPTIME:
            self.bound = 1.0
            self._put_off(now, 0.0)
        else:
            self._put_off(now, self._next_delay())

    def stop(self, now: float, end: ConsoleEnd = ConsoleEnd.PROCESS) -> None:
        """Someone deletes it, or the agent stops: whoever comes first says why it ends."""
        if self.state in (State.STOPPING, State.GONE):
            return
        self.state, self.waiting, self.end = State.STOPPING, None, end
        if not self.has_child:
            self._vanish()
        elif self.due is None:
            self.due = now + STOP_TIMEOUT

    def kill(self, now: float) -> None:
        """The agent stops at once."""
        self.stop(now, ConsoleEnd.AGENT)
        self._lose_child()
        self._vanish()

    def restart(self, now: float) -> bool:
        """Someone wants a new child; whether that is possible."""
        if self.state in FAILURES - REPEATABLE | {State.STOPPING, State.GONE}:
            return False
        self.bound = 1.0
        if self.state in REPEATABLE:
            self._put_off(now, 0.0)
            return True
        if self.state is State.RUNNING and self.due is None:
            self.due = now + STOP_TIMEOUT
        elif self.state is State.FINISHED or (self.state is State.BACKOFF and self.waiting is None):
            self._put_off(now, 0.0)
        elif self.state is State.BACKOFF:
            self.shown = now
        return True

    def advance(self, now: float) -> None:
        """Time has passed: do what is due, at the time at which it was."""
        if self.due is None or self.due > now:
            return
        due, self.due = self.due, None
        if self.state is State.STOPPING:
            self._lose_child()
            self._vanish()
        elif self.state is State.RUNNING:
            self._lose_child()
            self._put_off(due, 0.0)
        else:
            self._try_again()

    @property
    def ready(self) -> bool:
        """Its port answers as soon as there is a child, which is not to end."""
        return self.state is State.RUNNING and self.due is None

    def _try_again(self) -> None:
        if self.prepared:
            self.waiting = Waiting.SPAWN
        elif self.seen:
            self.state, self.waiting = State.BUILDING, Waiting.UNPACK
        elif self.has_archive:
            self.state, self.waiting = State.UNPACKING, Waiting.UNPACK
        else:
            self.state, self.waiting = State.DOWNLOADING, Waiting.DOWNLOAD

    def _put_off(self, now: float, delay: float) -> None:
        self.state, self.due, self.shown = State.BACKOFF, now + delay, now + delay
        if not delay:
            self.due = None
            self._try_again()

    def _next_delay(self) -> float:
        delay, self.bound = self.bound, min(self.bound * 2, 60.0)
        return delay

    def _lose_child(self) -> None:
        if self.has_child:
            self.has_child, self.exit = False, KILLED

    def _vanish(self) -> None:
        self.state, self.due = State.GONE, None


@attrs.define(eq=False)
class Model:
    """All processes of an agent.

    kept: as the next life of an agent that stops begins with them.
    """

    now: float = 0.0
    stopping: bool = False
    processes: dict[str, ModelProcess] = attrs.field(factory=dict)
    kept: dict[str, ModelProcess] = attrs.field(factory=dict)

    def create(self, slug: str) -> bool:
        """Whether it is created; else it is refused."""
        if self.stopping or slug in self.processes:
            return False
        self.processes[slug] = ModelProcess(slug)
        return True

    def delete(self, slug: str) -> None:
        """Someone deletes it: it does not come back, even if the agent stops already."""
        self.kept.pop(slug, None)
        self.processes[slug].stop(self.now)

    def live_again(self) -> None:
        """Another agent begins with what the one before, which is gone, has kept."""
        self.processes, self.kept, self.stopping = self.kept, {}, False

    def close(self, *, kill: bool) -> None:
        if not self.stopping:
            self.kept = {
                slug: one.again()
                for slug, one in self.processes.items()
                if one.state not in (State.STOPPING, State.GONE)
            }
        self.stopping = True
        for process in self.processes.values():
            if kill:
                process.kill(self.now)
            else:
                process.stop(self.now, ConsoleEnd.AGENT)

    def elapse(self, seconds: float) -> None:
        self.now += seconds
        for process in self.processes.values():
            process.advance(self.now)

    def forget_gone(self) -> Iterator[ModelProcess]:
        """Go through those that are gone, and list them no more."""
        for slug, process in list(self.processes.items()):
            if process.state is State.GONE:
                del self.processes[slug]
                yield process
