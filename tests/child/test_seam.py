"""How a child ended is said in the words of the operating system."""

from __future__ import annotations

import signal

import pytest

from smartmob_agent.child.seam import Exit


@pytest.mark.parametrize(
    ("how", "text", "record"),
    [
        (Exit(code=0), "exit code 0", {"code": 0}),
        (Exit(code=255), "exit code 255", {"code": 255}),
        (Exit(signal=signal.SIGKILL), "SIGKILL", {"signal": "SIGKILL"}),
        (Exit(signal=signal.SIGRTMIN + 2), "SIGRTMIN+2", {"signal": "SIGRTMIN+2"}),
    ],
)
def test_an_exit_is_a_code_or_a_signal(how: Exit, text: str, record: object) -> None:
    assert (str(how), how.record) == (text, record)


def test_an_exit_by_itself_has_no_signal() -> None:
    assert Exit(code=1).signal_name is None
