"""The machine of a rollout, against a model of slots which do whatever slots can do."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from smartmob_agent.apps.rollout import Cancel, Remove, Rollout, SetRelease, SlotPlan, Watch

Where = Literal["nowhere", "old", "new", "other"]


@attrs.define
class ModelSlot:
    """What a slot has, and what is under way for it."""

    kind: str
    has: Where
    job: Literal["", "forward", "back", "remove", "drain", "back drain"] = ""
    is_watched: bool = False
    is_cancelled: bool = False


def plans(slots: dict[str, ModelSlot]) -> list[SlotPlan]:
    return [
        SlotPlan(slug=slug, kind=one.kind, is_there=one.has != "nowhere", is_back=one.has == "old")
        for slug, one in slots.items()
    ]


def obey(rollout: Rollout, slots: dict[str, ModelSlot], parallel: int) -> None:
    """Take the commands, and check that they make sense."""
    for command in rollout.take():
        slot = slots[command.slug]
        if isinstance(command, Watch):
            slot.is_watched = True
        elif isinstance(command, Cancel):
            assert slot.job == "forward"
            slot.is_cancelled = True
        else:
            assert slot.job in ("", "drain"), command
            assert not slot.is_cancelled
            slot.is_watched = False
            if isinstance(command, Remove):
                slot.job = "remove"
            else:
                slot.job = "back" if command.back else "forward"
    busy = Counter(one.kind for one in slots.values() if one.job in ("forward", "back", "remove"))
    assert all(count <= parallel for count in busy.values())


def events_of(slots: dict[str, ModelSlot]) -> list[tuple[str, str]]:
    """What may happen next."""
    found = []
    for slug, slot in slots.items():
        if slot.job == "forward" or slot.job == "back":
            found += [(slug, "switched"), (slug, "failed")]
        elif slot.job in ("drain", "back drain"):
            found.append((slug, "changed"))
        elif slot.job == "remove":
            found.append((slug, "removed"))
        if slot.is_watched:
            found += [(slug, "passed"), (slug, "ended")]
    return found


def happen(rollout: Rollout, slots: dict[str, ModelSlot], slug: str, event: str) -> None:
    slot = slots[slug]
    if event == "switched":
        slot.has = "new" if slot.job == "forward" else "old"
        slot.job = "drain" if slot.job == "forward" else "back drain"
        rollout.note_switched(slug)
    elif event == "changed":
        slot.job, slot.is_cancelled = "", False
        rollout.note_changed(slug)
    elif event == "removed":
        slot.job, slot.has = "", "nowhere"
        rollout.note_removed(slug)
    elif event == "passed":
        slot.is_watched = False
        rollout.note_passed(slug)
    elif event == "ended":
        slot.is_watched = False
        rollout.note_failed(slug, "ended")
    else:
        created = slot.has == "nowhere" and slot.job == "forward"
        slot.has = "new" if created else slot.has
        was_cancelled, slot.job, slot.is_cancelled = slot.is_cancelled, "", False
        if was_cancelled and created:
            rollout.note_cancelled(slug)
        else:
            rollout.note_failed(slug, "failed")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_it_ends_with_one_release_whatever_happens(data: st.DataObject) -> None:
    parallel = data.draw(st.integers(1, 3))
    can_go_back = data.draw(st.booleans())
    on_failure: Literal["rollback", "halt"] = data.draw(st.sampled_from(["rollback", "halt"]))
    places: list[Where] = ["nowhere", "old", "new", "other"] if can_go_back else ["nowhere"]
    has = st.sampled_from(places)
    slots = {
        f"{kind}.{number}": ModelSlot(kind, data.draw(has))
        for kind in ("web", "worker")
        for number in range(data.draw(st.integers(0, 3)))
    }
    rollout = Rollout(
        plans(slots),
        parallel=parallel,
        on_failure=on_failure,
        can_go_back=can_go_back,
        is_going_back=on_failure == "rollback" and data.draw(st.booleans()),
    )
    failed = False
    for _ in range(200):
        obey(rollout, slots, parallel)
        if rollout.outcome is not None:
            break
        slug, event = data.draw(st.sampled_from(events_of(slots)))
        failed |= event in ("failed", "ended")
        happen(rollout, slots, slug, event)
    outcome = rollout.outcome
    left = {one.has for one in slots.values()}
    if outcome == "done":
        assert left <= {"new"}
        assert rollout.done == rollout.total == len(slots)
    elif outcome == "rolled back":
        assert rollout.troubles or left <= {"old"}
    elif outcome == "failed":
        assert left <= {"nowhere"}
    else:
        assert outcome == "halted"
        assert failed
    assert not any(one.job in ("forward", "back", "remove") for one in slots.values())


def test_what_is_good_already_is_left_alone() -> None:
    plan = SlotPlan(slug="web.0", kind="web", is_there=True, is_good=True)
    rollout = Rollout([plan], parallel=1, on_failure="halt", can_go_back=False)
    assert (rollout.take(), rollout.outcome, rollout.total) == ([], "done", 0)


def test_what_fails_on_the_way_back_is_told_and_the_rest_goes_on() -> None:
    slots = [SlotPlan(slug=f"web.{n}", kind="web", is_there=True) for n in range(2)]
    rollout = Rollout(
        slots, parallel=1, on_failure="rollback", can_go_back=True, is_going_back=True
    )
    assert rollout.take() == [SetRelease("web.0", back=True)]
    rollout.note_failed("web.0", "no memory")
    assert rollout.take() == [SetRelease("web.1", back=True)]
    rollout.note_switched("web.1")
    outcomes = [rollout.outcome]
    rollout.note_changed("web.1")
    assert [*outcomes, rollout.outcome] == [None, "rolled back"]
    assert rollout.troubles == ["web.0 did not go back: no memory"]


@pytest.mark.parametrize("on_failure", ["rollback", "halt"])
def test_one_that_was_called_off_too_late(on_failure: Literal["rollback", "halt"]) -> None:
    """It has the release all the same: it goes back, or stays."""
    slots = [SlotPlan(slug=f"web.{n}", kind="web", is_there=True, is_back=True) for n in range(2)]
    rollout = Rollout(slots, parallel=2, on_failure=on_failure, can_go_back=True)
    assert rollout.take() == [SetRelease("web.0"), SetRelease("web.1")]
    rollout.note_failed("web.0", "oops")
    assert rollout.take() == [Cancel("web.1")]
    rollout.note_switched("web.1")
    assert (rollout.take(), rollout.outcome) == ([], None)
    rollout.note_changed("web.1")
    back = [SetRelease("web.1", back=True)] if on_failure == "rollback" else []
    assert rollout.take() == back
    assert rollout.outcome == ("halted" if on_failure == "halt" else None)
    assert list(rollout) == (["web.1"] if back else [])


def test_a_slot_that_drains_while_it_is_to_go_back_is_not_done() -> None:
    """Its child has ended while it was watched, and the old one is gone only then."""
    slots = [SlotPlan(slug="web.0", kind="web", is_there=True, is_back=True)]
    rollout = Rollout(slots, parallel=1, on_failure="rollback", can_go_back=True)
    rollout.take()
    rollout.note_switched("web.0")
    rollout.note_failed("web.0", "it ended")
    assert rollout.take() == [Watch("web.0"), SetRelease("web.0", back=True)]
    rollout.note_changed("web.0")
    assert (rollout.outcome, list(rollout)) == (None, ["web.0"])
    one = SlotPlan(slug="web.0", kind="web", is_there=False)
    other = SlotPlan(slug="web.1", kind="web", is_there=False)
    rollout = Rollout([one, other], parallel=1, on_failure="rollback", can_go_back=False)
    rollout.note_switched("web.0")
    rollout.note_changed("web.0")
    rollout.note_switched("web.1")
    rollout.note_failed("web.1", "it ended")
    rollout.note_changed("web.1")
    assert rollout.outcome is None
    assert rollout.take()[-1] == Remove("web.0")
