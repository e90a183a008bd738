"""What comes before any slot is touched: the archive, the build, and the `release` command."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from smartmob_agent.apps.wanted import Release, RolloutState
from smartmob_agent.child.seam import Exit
from smartmob_agent.errors import RequestError, SourceError, TransientError
from smartmob_agent.output.batch import Stream
from smartmob_agent.process.policies import RestartPolicy
from smartmob_agent.process.preparation import Preparation, chosen_type, types_of
from smartmob_agent.process.process import ManagedProcess
from smartmob_agent.process.replacement import lines_of
from smartmob_agent.process.spec import ProcessSpec, Services
from smartmob_agent.process.states import ENDS, State
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.source.app.app_json import AppJson, parse_app_json
from smartmob_agent.source.disk.timeouts import REMOVE_TREE_TIMEOUT

__all__ = ["HOOK", "Staged", "StepFailedError", "prepare_release", "run_hook"]

HOOK = "release"
"""The process type that runs once, before any slot gets the release: Heroku's release phase."""

_LINES = 20

_STATES: Mapping[State, str] = {
    State.DOWNLOADING: RolloutState.FETCHING,
    State.UNPACKING: RolloutState.FETCHING,
    State.PROCESSING: RolloutState.FETCHING,
    State.BUILDING: RolloutState.BUILDING,
}


class StepFailedError(Exception):
    """A step of a rollout has failed.

    step: which one.
    lines: the last lines of its output.
    """

    def __init__(self, step: str, reason: str, lines: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.step = step
        self.lines = tuple(lines)


@attrs.frozen(kw_only=True)
class Staged:
    """What is known of a release that can be rolled out.

    sha256: digest of its archive.
    formation: process type → how many, by its app.json.
    has_hook: whether it has a `release` command.
    """

    sha256: str | None
    formation: Mapping[str, int]
    has_hook: bool


class _LastLines:
    """A sink that keeps the last lines."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_LINES)

    def publish(self, _stream: Stream, text: bytes) -> None:
        self.lines.extend(text.decode().splitlines()[-_LINES:])


async def prepare_release(
    name: str,
    release: Release,
    kinds: Sequence[str],
    services: Services,
    enter: Callable[[str], None],
) -> Staged:
    """Fetch, unpack and build a release once; what slots need of it is in the cache then.

    kinds: process types that there will be processes of; none for those of the app.json.
    enter: is called with the state of the rollout.

    Raises `StepFailedError`.

    If cancelled: leaves no file but in the cache.
    """
    output, step = _LastLines(), "downloading"

    def note(state: State) -> None:
        nonlocal step
        step = state.value
        enter(_STATES[state])

    builds = {release.spec(name, kind, kind).build for kind in kinds or ("web",)}
    spec = ProcessSpec(
        app=name,
        node=f"{HOOK}.{release.number}",
        process_type=None,
        command=":",
        source_url=release.source_url,
        source_sha256=release.source_sha256,
        root=release.root,
        env=release.env,
        build="auto" if "auto" in builds else "never",
        request_id=release.request_id,
    )
    files = Preparation.open(spec, services, output)
    try:
        await files.prepare(note)
        return _look(files, kinds)
    except (SourceError, TransientError) as exc:
        raise StepFailedError(step, str(exc), output.lines) from exc
    finally:
        with trio.move_on_after(REMOVE_TREE_TIMEOUT, shield=True):
            await files.remove()


def _look(files: Preparation, kinds: Sequence[str]) -> Staged:
    seen = files.seen
    assert seen is not None  # noqa: S101  # It was prepared.
    types = types_of(seen)
    app_json = AppJson() if seen.app_json is None else parse_app_json(seen.app_json)
    formation = app_json.formation or {"web": 1}
    for kind in kinds or [kind for kind, count in formation.items() if count]:
        chosen_type(types, kind)
    return Staged(sha256=files.source.sha256, formation=formation, has_hook=HOOK in types)


async def run_hook(
    name: str,
    release: Release,
    supervisor: Supervisor,
    *,
    timeout: float,
    delete: Callable[[str], None],
) -> None:
    """Run the `release` command of a release, once.

    delete: begins to remove the process that ran it, also when this is cancelled.

    Raises `StepFailedError`.
    """
    spec = attrs.evolve(
        release.spec(name, HOOK, f"{HOOK}.{release.number}"),
        restart=RestartPolicy.NEVER,
        port="none",
    )
    await trio.lowlevel.checkpoint_if_cancelled()
    try:
        process = supervisor.create(spec)
    except RequestError as exc:
        raise StepFailedError("releasing", str(exc)) from exc
    try:
        await process.wait_kept()
        with trio.move_on_after(timeout):
            await process.wait_state(State.FINISHED, *ENDS)
        _check(process, timeout)
    except RequestError as exc:
        raise StepFailedError("releasing", str(exc)) from exc
    finally:
        delete(process.slug)


def _check(process: ManagedProcess, timeout: float) -> None:
    if process.state is State.FINISHED and process.exit == Exit(code=0):
        return
    if process.state is State.FINISHED:
        reason = f"the release command ended with {process.exit}"
    elif process.state in ENDS:
        reason = process.error or "the agent is stopping"
    else:
        reason = f"the release command has not ended after {timeout:g} s"
    raise StepFailedError("releasing", reason, lines_of(process.console))
