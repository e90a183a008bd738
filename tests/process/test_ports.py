"""Ports: each is one process's own, is kept while it is free, and is given back."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.errors import PortInUseError, PortUnavailableError
from smartmob_agent.process.ports import Ports
from smartmob_agent.process.states import State
from smartmob_agent.testing import FakeNetwork, FakeSpawner, FakeWorkspaces
from tests.process.world import World, make_spec, running

Clock = trio.testing.MockClock


async def test_no_two_have_the_same_port() -> None:
    """However many are asking at once."""
    network = FakeNetwork(taken={20003, 20010})
    ports, found = Ports(20000, 20063, network.is_free), list[int | None]()

    async def secure(number: int) -> None:
        found.append(await ports.open("auto", f"app.{number}").secure())

    async with trio.open_nursery() as nursery:
        for number in range(62):
            nursery.start_soon(secure, number)
    assert sorted(found, key=str) == [n for n in range(20000, 20064) if n not in network.taken]
    with pytest.raises(PortUnavailableError, match=r"no port of 20000 to 20063 .* with --ports"):
        await ports.open("auto", "late").secure()


async def test_a_port_that_was_given_back_is_used_last() -> None:
    ports = Ports(1, 3, lambda _: True)
    lease = ports.open("auto", "a")
    assert await lease.secure() == 1
    lease.close()
    lease.close()
    assert [await ports.open("auto", slug).secure() for slug in "bcd"] == [2, 3, 1]


async def test_a_port_is_kept_over_restarts_while_it_is_free(autojump_clock: Clock) -> None:
    world = World()
    async with world.open() as supervisor:
        process = await running(supervisor)
        await running(supervisor, make_spec(node="web.1"))
        world.spawner.children[0].exit()
        await trio.sleep(2)
        assert [one.command.env["PORT"] for one in world.spawner.children] == [
            *("20000", "20001", "20000")
        ]
        world.network.taken.add(20000)
        world.spawner.children[2].exit()
        await trio.sleep(3)
        assert (process.port, world.spawner.children[3].command.env["PORT"]) == (20002, "20002")


async def test_a_number_is_one_processs_own() -> None:
    async with World().open() as supervisor:
        process = await running(supervisor, make_spec(port=4000))
        assert process.port == 4000
        with pytest.raises(PortInUseError, match=r"port 4000 is that of .* 'app\.web\.0'"):
            supervisor.create(make_spec(node="other", port=4000))
        assert [one.slug for one in supervisor] == ["app.web.0"]
        await supervisor.delete("app.web.0")
        await running(supervisor, make_spec(node="other", port=4000))


async def test_what_the_agent_has_chosen_is_nobody_elses() -> None:
    async with World().open() as supervisor:
        await running(supervisor)
        with pytest.raises(PortInUseError):
            supervisor.create(make_spec(node="other", port=20000))


async def test_a_stranger_in_the_way_is_waited_for(autojump_clock: Clock) -> None:
    world = World(network=FakeNetwork(taken={4000}))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec(port=4000))
        await process.wait_state(State.BACKOFF)
        assert process.error == "port 4000 is in use by a program that is not the agent's"
        assert (process.failures, process.port) == (1, None)
        world.network.taken.clear()
        assert await process.wait_ready()
        now: list[object] = [process.port, process.failures, process.error]
        assert now == [4000, 0, None]


async def test_a_range_that_is_used_up_is_told(autojump_clock: Clock) -> None:
    world = World(config=AgentConfig(ports=(5000, 5000)))
    async with world.open() as supervisor:
        await running(supervisor)
        late = supervisor.create(make_spec(node="web.1"))
        await late.wait_state(State.BACKOFF)
        assert late.error == "no port of 5000 to 5000 is free: give the agent more with --ports"
        await supervisor.delete("app.web.0")
        assert await late.wait_ready()
        assert late.port == 5000


@pytest.mark.parametrize(
    ("procfile", "env"), [(b"web: PORT=80 serve\n", {}), (b"web: serve\n", {"PORT": "80"})]
)
async def test_a_port_of_its_own_is_not_overridden(procfile: bytes, env: dict[str, str]) -> None:
    world = World(workspaces=FakeWorkspaces(procfile=procfile))
    async with world.open() as supervisor:
        process = await running(supervisor, make_spec(env=env, ready=None))
        assert world.spawner.children[0].command.env["PORT"] == "80"
        assert process.port is None


async def test_none_is_none() -> None:
    world = World()
    async with world.open() as supervisor:
        process = supervisor.create(make_spec(port="none"))
        child = await world.spawner.next_child()
        assert "PORT" not in child.command.env
        assert process.port is None


async def test_many_that_are_taken_do_not_hold_up_others(autojump_clock: Clock) -> None:
    looks = 0

    def is_free(_: int) -> bool:
        nonlocal looks
        looks += 1
        return False

    seen = []

    async def look() -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()
            seen.append(looks)

    ports = Ports(1, 1000, is_free)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        with pytest.raises(PortUnavailableError):
            await ports.open("auto", "a").secure()
    assert looks == 1000
    assert max(now - before for before, now in pairwise(seen)) <= 2 * 64


async def test_a_child_that_cannot_be_started_keeps_its_port(autojump_clock: Clock) -> None:
    world = World(spawner=FakeSpawner(missing={"/bin/sh"}))
    async with world.open() as supervisor:
        process = supervisor.create(make_spec())
        await trio.sleep(10)
        assert (process.port, process.failures) == (20000, 4)
