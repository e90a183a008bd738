"""An agent with a state that lasts, which ends at any moment: of its start, and of what it does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from smartmob_agent.child.seam import Exit
from smartmob_agent.process.policies import RestartPolicy
from smartmob_agent.process.record import KeptProcess, parse_record
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeSpawner, FakeStore, Scenario, Trial
from tests.determinism.memory_agent import ask, check_nothing_left, open_stage
from tests.process.world import EPOCH, World, make_spec, settle

KEPT = (
    KeptProcess(spec=make_spec(node="go.0"), created_at=EPOCH, starts=1),
    KeptProcess(
        spec=make_spec(node="again.0", restart=RestartPolicy.ON_FAILURE),
        created_at=EPOCH,
        starts=1,
        has_finished=True,
        exit=Exit(code=0),
    ),
)
CREATE = {"app": "app", "node": "new.0", "process_type": "web", "source_url": "http://127.0.0.1/a"}
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/create-process", CREATE),
    ("/delete-process/app.go.0", {}),
    ("/restart-process/app.again.0", {}),
)


async def state_by_http(trial: Trial) -> None:
    """What was answered holds in the next life, and so does what nobody has asked to change."""
    store, statuses = FakeStore(), dict[str, int]()
    for one in KEPT:
        await store.compare_and_set(one.key, one.document, expected=0)
    world = World(state=store, spawner=FakeSpawner(delay=1))
    with trial.subject():
        async with open_stage(world) as stage:
            assert [process.slug for process in stage.supervisor] == [one.spec.slug for one in KEPT]
            for path, body in REQUESTS:
                statuses[path] = await ask(stage.connect(), "POST", path, json.dumps(body).encode())
            await stage.supervisor.get("app.again.0").wait_ready()
    check_nothing_left(world)
    assert trial.cancelled or [*statuses.values()] == [201, 200, 202]
    found = await read(store)
    assert found.keys() - {"app.new.0", "app.go.0"} == {"app.again.0"}
    created, deleted, restarted = (statuses.get(path, 0) for path, _ in REQUESTS)
    assert created != 201 or "app.new.0" in found
    assert deleted != 200 or "app.go.0" not in found
    assert restarted != 202 or not found["app.again.0"].has_finished
    await live_again(store, found)


async def read(store: FakeStore) -> dict[str, KeptProcess]:
    documents = (await store.read_all()).documents
    return {one.key[1]: parse_record(one.key, one.value) for one in documents}


async def live_again(store: FakeStore, kept: Mapping[str, KeptProcess]) -> None:
    """The next agent has each of them once, in order, and runs what is to run."""
    world = World(state=store)
    async with world.open() as supervisor:
        supervisor.restore((await store.read_all()).documents)
        await settle()
        assert [process.slug for process in supervisor] == [*kept]
        for process in supervisor:
            has_finished = kept[process.slug].has_finished
            assert process.state is (State.FINISHED if has_finished else State.RUNNING)
    check_nothing_left(world)


STATE: Mapping[str, Scenario] = {"state by HTTP": state_by_http}
