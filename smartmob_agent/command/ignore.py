"""Which files of a directory git would not look at.  Only this module knows pathspec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

__all__ = ["Ignored"]

_FILE = ".gitignore"


class Ignored:
    """The rules for one directory: its own, then those above it, up to the top of the repository.

    The last rule that fits counts, and the nearest file goes first: gitignore(5).
    """

    def __init__(self, directory: Path, above: Sequence[tuple[Path, GitIgnoreSpec]] = ()) -> None:
        own = _read(directory)
        self._rules = [(directory, own), *above] if own is not None else [*above]

    @classmethod
    def at(cls, directory: Path) -> Ignored:
        """Return the rules for a directory anywhere in a repository, or in none."""
        above: list[tuple[Path, GitIgnoreSpec]] = []
        for parent in reversed(list(_up_to_top(directory))):
            if (rules := _read(parent)) is not None:
                above.insert(0, (parent, rules))
        return cls(directory, above)

    def below(self, directory: Path) -> Ignored:
        """Return the rules for a directory in this one."""
        return Ignored(directory, self._rules)

    def __contains__(self, path: Path) -> bool:
        if path.name == ".git":
            return True
        slash = "/" if path.is_dir() and not path.is_symlink() else ""
        for base, rules in self._rules:
            found = rules.check_file(f"{path.relative_to(base).as_posix()}{slash}").include
            if found is not None:
                return found
        return False


def _up_to_top(directory: Path) -> Iterator[Path]:
    """Yield the parents up to the one that has `.git`; none where there is no repository."""
    chain = [directory, *directory.parents]
    for number, path in enumerate(chain):
        if (path / ".git").exists():
            yield from chain[1 : number + 1]
            return


def _read(directory: Path) -> GitIgnoreSpec | None:
    try:
        text = (directory / _FILE).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return GitIgnoreSpec.from_lines(text.splitlines())
