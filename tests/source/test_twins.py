"""Names that some file systems take for one."""

from __future__ import annotations

import pytest

from smartmob_agent.errors import UnpackError
from smartmob_agent.source.twins import Names


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Procfile", "PROCFILE"),
        ("a/b", "A/b"),
        ("é", "É"),
        ("é", "e\u0301"),
        ("straße", "STRASSE"),
        ("Å", "\u212b"),
    ],
)
def test_twins_are_refused(first: str, second: str) -> None:
    names = Names()
    names.use(first)
    with pytest.raises(
        UnpackError, match="differs from an earlier member's name only in case"
    ) as info:
        names.use(second)
    assert str(info.value).startswith(repr(second))


def test_other_names_are_not() -> None:
    """Nor is the same one, which is a duplicate or a directory that comes twice."""
    names = Names()
    for path in ("a", "b", "a/b", "ab", "ä", "a"):
        names.use(path)
