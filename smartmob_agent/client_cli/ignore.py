"""Which files git ignores, by pathspec."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

__all__ = ["Ignored"]

_FILE = ".gitignore"


class Ignored:
    """The rules for one directory: its own, then those above it, up to the top of the repository.

    The last matching rule counts, and the nearest file goes first: gitignore(5).
    """

    def __init__(self, directory: Path, above: Sequence[tuple[Path, GitIgnoreSpec]] = ()) -> None:
        own = _read(directory)
        self._rules = [(directory, own), *above] if own is not None else [*above]

    @classmethod
    def at(cls, directory: Path) -> Ignored:
        """Return the rules for a directory anywhere in a repository, or in none."""
        parents = list(_up_to_top(directory))
        found = [(parent, rules) for parent in parents if (rules := _read(parent)) is not None]
        chain = [directory, *parents]
        return cls(
            directory, [(base, _without_rules_for(rules, base, chain)) for base, rules in found]
        )

    def below(self, directory: Path) -> Ignored:
        """Return the rules for a directory in this one."""
        return Ignored(directory, self._rules)

    def __contains__(self, path: Path) -> bool:
        return path.name == ".git" or self.file_for(path) is not None

    def file_for(self, path: Path) -> Path | None:
        """Return the file whose rules exclude a path, None if none does."""
        for base, rules in self._rules:
            found = rules.check_file(_name(path, base)).include
            if found is not None:
                return base / _FILE if found else None
        return None


def _up_to_top(directory: Path) -> Iterator[Path]:
    """Yield the parents up to the one with `.git`; none outside a repository."""
    chain = [directory, *directory.parents]
    for number, path in enumerate(chain):
        if (path / ".git").exists():
            yield from chain[1 : number + 1]
            return


def _without_rules_for(rules: GitIgnoreSpec, base: Path, chain: Sequence[Path]) -> GitIgnoreSpec:
    """Return rules without those that exclude one of some directories below them.

    A user who names a directory wants its contents, even if git ignores the directory.
    """
    below = [_name(path, base) for path in chain if base in path.parents]
    excluded = [name for name in below if rules.check_file(name).include]
    return GitIgnoreSpec(
        rule
        for rule in rules.patterns
        if not (rule.include and any(rule.match_file(name) for name in excluded))
    )


def _name(path: Path, base: Path) -> str:
    """Return a path in the form that the rules of a directory match."""
    slash = "/" if path.is_dir() and not path.is_symlink() else ""
    return f"{path.relative_to(base).as_posix()}{slash}"


def _read(directory: Path) -> GitIgnoreSpec | None:
    try:
        text = (directory / _FILE).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return GitIgnoreSpec.from_lines(text.splitlines())
