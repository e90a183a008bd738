"""Connections to the very address that was looked at."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Sequence
from functools import partial

import attrs
import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import EgressRules
from smartmob_agent.source.download.dialer import LOOKUPS, Dialer, Resolver
from smartmob_agent.source.download.egress import Address, EgressFilter, ForbiddenError


@attrs.define(eq=False)
class World:
    """Names and machines.

    names: name → its addresses, one after the other for each look-up.
    dead: addresses that refuse connections; silent: those that never answer.
    asked: names that were looked up; met: addresses that connections were made to.
    """

    names: dict[str, list[Sequence[str]]]
    dead: Sequence[str] = ()
    silent: Sequence[str] = ()
    asked: list[str] = attrs.field(factory=list)
    met: list[str] = attrs.field(factory=list)

    async def lookup(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        await trio.lowlevel.checkpoint()
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host].pop(0)

    async def connect(self, address: Address, port: int) -> trio.abc.Stream:
        self.met.append(str(address))
        await trio.lowlevel.checkpoint()
        if str(address) in self.dead:
            raise ConnectionRefusedError(str(address))
        if str(address) in self.silent:
            await trio.sleep_forever()
        return trio.testing.memory_stream_pair()[0]

    def dialer(self, **rules: tuple[str, ...]) -> Dialer:
        policy = EgressFilter.of(EgressRules(**rules))
        return Dialer(policy=policy, lookup=self.lookup, connect=self.connect)


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """A name that changes its address in between gains nothing: it is looked up once."""
    world = World({"a.net": [["192.0.2.1"], ["169.254.169.254"]]})
    dialer = world.dialer()
    await dialer.dial("a.net", 80)
    assert (world.asked, world.met) == (["a.net"], ["192.0.2.1"])
    with pytest.raises(ForbiddenError, match=r"a\.net has the address 169\.254\.169\.254, which "):
        await dialer.dial("a.net", 80)
    assert world.met == ["192.0.2.1"]


async def test_forbidden_addresses_of_a_name_are_passed_over() -> None:
    """Those that are left will do."""
    world = World({"a.net": [["169.254.0.1", "10.0.0.1", "192.0.2.1"]]}, dead=["192.0.2.1"])
    with pytest.raises(ConnectionRefusedError):
        await world.dialer(deny=("10.0.0.0/8",)).dial("a.net", 80)
    assert world.met == ["192.0.2.1"]


async def test_both_versions_of_ip_are_tried_by_turns() -> None:
    """The system says which comes first."""
    addresses = ["::1", "::2", "::3", "127.0.0.1", "127.0.0.1"]
    world = World({"a": [addresses, addresses[::-1]]}, dead=["::1", "::2", "::3", "127.0.0.1"])
    dialer = world.dialer()
    for met in (["::1", "127.0.0.1", "::2", "::3"], ["127.0.0.1", "::3", "::2", "::1"]):
        world.met.clear()
        with pytest.raises(ConnectionRefusedError):
            await dialer.dial("a", 80)
        assert world.met == met


async def test_an_address_is_not_looked_up() -> None:
    world = World({})
    await world.dialer().dial("::1", 80)
    assert (world.asked, world.met) == ([], ["::1"])


@pytest.mark.parametrize(
    "host", ["2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"]
)
async def test_an_odd_spelling_of_an_address_does_not_help(host: str) -> None:
    """The C library reads it; what it makes of it is looked at."""
    with pytest.raises(ForbiddenError, match=r"169\.254\.169\.254"):
        await Dialer(policy=EgressFilter.of(EgressRules())).dial(host, 80)


async def test_a_name_that_is_denied_is_not_looked_up() -> None:
    world = World({"a.net": [["192.0.2.1"]]})
    with pytest.raises(ForbiddenError):
        await world.dialer(deny=("a.net",)).dial("a.net", 80)
    assert world.asked == []


async def test_a_name_without_address_is_an_error_of_the_system() -> None:
    with pytest.raises(socket.gaierror):
        await World({}).dialer().dial("a.net", 80)


async def test_an_address_that_does_not_answer_is_left_for_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """After 3 s; the last one has all the time of the caller."""
    silent = ["::1", "127.0.0.1", "::2"]
    world = World({"a.net": [silent]}, silent=silent)
    with trio.move_on_after(100):
        await world.dialer().dial("a.net", 80)
    assert (world.met, trio.current_time()) == (silent, 100)
    world = World({"a.net": [silent]}, silent=silent[:2])
    await world.dialer().dial("a.net", 80)
    assert (world.met, trio.current_time()) == (silent, 106)


async def test_names_that_are_never_answered_leave_the_threads_to_others() -> None:
    """More of them than the agent has threads, all given up, and yet there is one."""
    answer = threading.Event()

    def ask(host: str) -> Sequence[str]:
        answer.wait(60)
        return ["192.0.2.1"]

    resolver = Resolver(ask=ask)
    threads = trio.to_thread.current_default_thread_limiter()
    count = int(max(threads.total_tokens, LOOKUPS)) + 1
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(resolver.lookup, "a.net")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert threads.borrowed_tokens == 0
        with trio.fail_after(30):
            await trio.to_thread.run_sync(math.sqrt, 4)
    finally:
        answer.set()


async def test_a_connection_is_made() -> None:
    """By real means: the C library and the kernel."""
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, trio.aclose_forcefully, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        stream = await Dialer(policy=EgressFilter.of(EgressRules())).dial("localhost", port)
        async with stream:
            assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()
