"""The shim's end of the lifeline, with the agent's end in the hands of the test."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import attrs
import pytest

from smartmob_agent.child.guard.lifeline import Lifeline


@attrs.frozen
class Ends:
    """Both ends; the agent's is closed by whoever wants it gone."""

    lifeline: Lifeline
    agent: socket.socket


@pytest.fixture
def ends() -> Iterator[Ends]:
    agent, shim = socket.socketpair()
    lifeline = Lifeline(shim.detach())
    with agent, lifeline._socket:
        yield Ends(lifeline, agent)


def test_words_are_heard_once_and_without_waiting(ends: Ends) -> None:
    assert ends.lifeline.hear() == b""
    ends.agent.sendall(b"tk")
    assert ends.lifeline.hear() == b"tk"
    assert ends.lifeline.hear() == b""
    assert not ends.lifeline.is_alone


def test_what_is_said_arrives_as_a_line(ends: Ends) -> None:
    ends.lifeline.say("started 5")
    assert ends.agent.recv(100) == b"started 5\n"


def test_an_agent_that_is_gone_is_told_nothing(ends: Ends) -> None:
    ends.agent.sendall(b"t")
    ends.agent.close()
    assert ends.lifeline.hear() == b"t"
    assert ends.lifeline.hear() is None
    assert ends.lifeline.is_alone
    ends.lifeline.say("empty")


def test_an_agent_that_was_killed_with_words_unread_is_gone_too(ends: Ends) -> None:
    """Then the kernel resets the connection."""
    ends.lifeline.say("started 5")
    ends.agent.close()
    assert ends.lifeline.hear() is None
    assert ends.lifeline.is_alone


def test_an_agent_that_is_gone_though_nobody_listened_is_no_error(ends: Ends) -> None:
    ends.agent.close()
    ends.lifeline.say("left 5")


def test_an_agent_that_does_not_listen_is_not_waited_for(ends: Ends) -> None:
    for _ in range(10_000):
        ends.lifeline.say("left 5", wait=False)
    assert ends.agent.recv(7) == b"left 5\n"
