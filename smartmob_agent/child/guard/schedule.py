"""How soon the guard runs when others want to run as well.

Standard library only: the guard imports this module without the rest of the package.
"""

from __future__ import annotations

import ctypes
import os
import struct

from .bare import TYPE_CHECKING, suppress

if TYPE_CHECKING:
    from typing import Any

__all__ = ["take_precedence", "wake_quickly"]

# <asm/unistd.h>, <linux/sched/types.h>
_SYS_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
_ATTRIBUTES = "=IIQiIQQQ"
_RESET_ON_FORK = 1
_SLICE = 100_000
"""Nanoseconds, the least that the kernel takes."""


def take_precedence() -> None:
    """Run before all ordinary processes if we may: a storm of forks leaves no time."""
    with suppress(PermissionError, AttributeError):  # AttributeError: not on Linux
        priority = os.sched_param(os.sched_get_priority_min(os.SCHED_RR))
        os.sched_setscheduler(0, os.SCHED_RR, priority)


def _ask_policy() -> int:
    return os.sched_getscheduler(0)


def _prepare() -> tuple[Any, ...]:
    """The call that `wake_quickly()` makes, empty if there is none for this machine.

    Made before the shims are forked: what each of them makes for itself costs it 0.1 MB.
    """
    number = _SYS_SCHED_SETATTR.get(os.uname().machine)
    if number is None or _ask_policy() != os.SCHED_OTHER:
        return ()
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    size = struct.calcsize(_ATTRIBUTES)
    attributes = struct.pack(
        _ATTRIBUTES, size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, _SLICE, 0, 0
    )
    return ctypes.CDLL(None).syscall, ctypes.c_long(number), 0, attributes, 0


_CALL = _prepare() if hasattr(os, "sched_getscheduler") else ()


def wake_quickly() -> None:
    """Ask to run as soon as we are woken, for a short time: a storm of forks leaves us a long wait.

    It is asked for the calling thread, and for nobody that it starts.
    Needs Linux 6.12 (sched_setattr(2), with a slice of its own for an ordinary process); without
    it we wait.
    """
    if _CALL:
        call, *arguments = _CALL
        call(*arguments)
