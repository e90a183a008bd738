"""The order in which the slots of an app are brought to a release.  Pure: no clock, no I/O.

A driver takes commands and tells what became of them.  The machine knows nothing of processes: it
can be asked again and again, and after a crash a new one is made of what is there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Literal

import attrs

__all__ = [
    "Cancel",
    "OnFailure",
    "Outcome",
    "Remove",
    "Rollout",
    "SetRelease",
    "SlotCommand",
    "SlotPlan",
    "Watch",
]

OnFailure = Literal["rollback", "halt"]

Outcome = Literal["done", "failed", "rolled back", "halted"]
"""`failed`: nothing of it is left, and there was no release to go back to."""


@attrs.frozen(kw_only=True)
class SlotPlan:
    """One slot as it is when the rollout begins.

    kind: its process type.
    is_there: it has a process.
    is_good: it needs nothing.
    is_back: it has the release to go back to.
    """

    slug: str
    kind: str
    is_there: bool
    is_good: bool = False
    is_back: bool = False


@attrs.frozen
class SetRelease:
    """Bring a slot to the release, or back to the one before.

    Wanted: `note_switched`, then `note_changed`; or `note_failed`.
    """

    slug: str
    back: bool = False


@attrs.frozen
class Watch:
    """See whether the child of a slot stays.  Wanted: `note_passed` or `note_failed`."""

    slug: str


@attrs.frozen
class Cancel:
    """Call off what is under way for a slot.

    Wanted: `note_cancelled`, or `note_switched` and `note_changed` if it is too late.
    """

    slug: str


@attrs.frozen
class Remove:
    """Remove the process of a slot.  Wanted: `note_removed`."""

    slug: str


SlotCommand = SetRelease | Watch | Cancel | Remove


class _Step(enum.Enum):
    WAITING = enum.auto()
    CHANGING = enum.auto()
    DRAINING = enum.auto()
    """It has the release; the child of the old one goes on for a while."""
    CHANGED = enum.auto()


@attrs.define(eq=False, kw_only=True)
class _Slot:
    plan: SlotPlan
    step: _Step = _Step.WAITING
    is_touched: bool = False
    is_cancelled: bool = False
    has_passed: bool = False
    is_settled: bool = False
    """Nothing more becomes of it."""

    @property
    def is_under_way(self) -> bool:
        return self.step in (_Step.CHANGING, _Step.DRAINING)

    @property
    def is_good(self) -> bool:
        return self.plan.is_good or (self.step is _Step.CHANGED and self.has_passed)


class Rollout:
    """One way of an app from what is there to a release.

    parallel: how many slots of one type may be under way at once.
    can_go_back: there is a release to go back to.
    is_going_back: whether it has failed and does so.
    reason, slug: of the first failure.
    troubles: what failed on the way back: it goes on all the same.
    """

    def __init__(
        self,
        slots: Sequence[SlotPlan],
        *,
        parallel: int,
        on_failure: OnFailure,
        can_go_back: bool,
        is_going_back: bool = False,
    ) -> None:
        self._slots = {plan.slug: _Slot(plan=plan) for plan in slots}
        self._parallel = parallel
        self._on_failure = on_failure
        self._can_go_back = can_go_back
        self._has_failed = False
        self._commands: list[SlotCommand] = []
        self.is_going_back = False
        self.reason: str | None = None
        self.slug: str | None = None
        self.troubles: list[str] = []
        if is_going_back:
            self._has_failed = True
            self._go_back()
        self._advance()

    @property
    def total(self) -> int:
        """Slots that are to change."""
        return sum(not slot.plan.is_good for slot in self._slots.values())

    @property
    def done(self) -> int:
        """Slots of these that have the release for good."""
        if self._has_failed:
            return 0
        return sum(slot.is_good and not slot.plan.is_good for slot in self._slots.values())

    @property
    def outcome(self) -> Outcome | None:
        """How it has ended; None while it has not."""
        if not self._has_failed:
            return "done" if all(slot.is_good for slot in self._slots.values()) else None
        if not all(slot.is_settled for slot in self._slots.values()):
            return None
        if not self.is_going_back:
            return "halted"
        return "rolled back" if self._can_go_back else "failed"

    @property
    def is_rolling(self) -> bool:
        """Whether some slot is not done yet but for being watched."""
        return self._has_failed or any(
            not slot.plan.is_good and slot.step is not _Step.CHANGED
            for slot in self._slots.values()
        )

    def take(self) -> list[SlotCommand]:
        """Return what is to be done now; each command comes once."""
        commands, self._commands = self._commands, []
        return commands

    def note_switched(self, slug: str) -> None:
        """The slot has the release it was to have, and its child is ready."""
        slot = self._slots[slug]
        slot.is_touched = True
        slot.step = _Step.DRAINING
        if not self._has_failed:
            self._commands.append(Watch(slug))

    def note_changed(self, slug: str) -> None:
        """Nothing is left of what the slot had before."""
        slot = self._slots[slug]
        if slot.step is not _Step.DRAINING:
            return  # It is to go back already, and has not begun.
        slot.step = _Step.CHANGED
        if slot.is_cancelled:
            self._after_cancel(slot)
        elif self._has_failed and self.is_going_back:
            slot.is_settled = True
        self._advance()

    def note_passed(self, slug: str) -> None:
        """The child of the slot has stayed for as long as it was watched."""
        self._slots[slug].has_passed = True
        self._advance()

    def note_failed(self, slug: str, reason: str) -> None:
        """The slot did not get its release, or its child has ended while it was watched."""
        slot = self._slots[slug]
        if self._has_failed:
            self._note_trouble(slot, reason)
        else:
            self._has_failed, self.slug, self.reason = True, slug, reason
            if slot.step is _Step.CHANGING:
                slot.step = _Step.WAITING
                slot.is_touched = not slot.plan.is_there
            self._stop()
        self._advance()

    def note_cancelled(self, slug: str) -> None:
        """What was under way for the slot has ended without a new release."""
        slot = self._slots[slug]
        slot.step = _Step.WAITING
        slot.is_touched = slot.is_touched or not slot.plan.is_there
        self._after_cancel(slot)
        self._advance()

    def note_removed(self, slug: str) -> None:
        """Nothing is left of the slot."""
        self._slots[slug].is_settled = True
        self._slots[slug].step = _Step.CHANGED
        self._advance()

    def _note_trouble(self, slot: _Slot, reason: str) -> None:
        if slot.is_cancelled:
            slot.step = _Step.WAITING
            self._after_cancel(slot)
        elif self.is_going_back and slot.is_under_way:
            self.troubles.append(f"{slot.plan.slug} did not go back: {reason}")
            slot.step, slot.is_settled = _Step.CHANGED, True

    def _stop(self) -> None:
        """Begin nothing new; call off what is under way."""
        for slot in self._slots.values():
            if slot.step is _Step.CHANGING:
                slot.is_cancelled = True
                self._commands.append(Cancel(slot.plan.slug))
        self.is_going_back = self._on_failure == "rollback"
        if self.is_going_back:
            self._go_back()
        else:
            for slot in self._slots.values():
                slot.is_settled = not slot.is_cancelled

    def _go_back(self) -> None:
        self.is_going_back = True
        for slot in self._slots.values():
            if not slot.is_cancelled:
                self._turn_round(slot)

    def _after_cancel(self, slot: _Slot) -> None:
        slot.is_cancelled = False
        if self.is_going_back:
            self._turn_round(slot)
        else:
            slot.is_settled = True

    def _turn_round(self, slot: _Slot) -> None:
        """Find out whether a slot has to go back."""
        is_there = slot.plan.is_there or slot.is_touched
        if self._can_go_back:
            slot.is_settled = slot.plan.is_back and not slot.is_touched
        else:
            slot.is_settled = not is_there
        slot.step = _Step.CHANGED if slot.is_settled else _Step.WAITING

    def _advance(self) -> None:
        """Begin with as many slots as may be under way."""
        if self._has_failed and not self.is_going_back:
            return
        for kind in dict.fromkeys(slot.plan.kind for slot in self._slots.values()):
            same = [slot for slot in self._slots.values() if slot.plan.kind == kind]
            room = self._parallel - sum(slot.is_under_way for slot in same)
            for slot in self._waiting(same)[: max(room, 0)]:
                slot.step = _Step.CHANGING
                self._commands.append(self._command_for(slot))

    def _waiting(self, slots: Sequence[_Slot]) -> list[_Slot]:
        return [
            slot
            for slot in slots
            if slot.step is _Step.WAITING
            and not slot.is_cancelled
            and not (slot.is_settled if self._has_failed else slot.plan.is_good)
        ]

    def _command_for(self, slot: _Slot) -> SlotCommand:
        if not self._has_failed:
            return SetRelease(slot.plan.slug)
        if self._can_go_back:
            return SetRelease(slot.plan.slug, back=True)
        return Remove(slot.plan.slug)

    def __iter__(self) -> Iterator[str]:
        """Go through the slots that are under way."""
        return (slot.plan.slug for slot in self._slots.values() if slot.is_under_way)
