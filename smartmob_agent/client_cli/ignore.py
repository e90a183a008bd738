"""Which files of a directory are packed: by rules of git, of ours, and of the user; by pathspec."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

__all__ = ["Choice", "Selection"]

_FILE = ".gitignore"
_OWN_FILE = ".smartmobignore"


class Choice(enum.Enum):
    """What becomes of a path.

    IGNORED: git ignores it.
    UNWANTED: `.smartmobignore` leaves it out.
    NEVER: `--include` leaves it out, or it is of git itself; nothing below it is packed either.
    """

    PACKED = enum.auto()
    IGNORED = enum.auto()
    UNWANTED = enum.auto()
    NEVER = enum.auto()


class Selection:
    """Chooses among the paths below a directory, by three kinds of rules, the strongest first.

    All have the syntax of gitignore(5): patterns to include, in which `!` leaves out;
    `.smartmobignore`, in which `!` takes in; and the files `.gitignore`.
    """

    def __init__(self, top: Path, include: Sequence[str] = ()) -> None:
        self._top = top
        patterns = [_relative(pattern) for pattern in include]
        self._include = GitIgnoreSpec.from_lines(patterns)
        self._unused = {
            given: GitIgnoreSpec.from_lines([pattern.removeprefix("!")])
            for given, pattern in zip(include, patterns, strict=True)
        }
        self._own = _read(top / _OWN_FILE) or GitIgnoreSpec.from_lines([])
        self.includes_any = bool(patterns)

    @property
    def unused(self) -> Sequence[str]:
        """The patterns to include that have matched no path so far."""
        return [*self._unused]

    def rules(self) -> Ignored:
        """Return the rules of git for the directory."""
        return Ignored.at(self._top)

    def choose(self, path: Path, above: Choice, ignored: Ignored) -> Choice:
        """Return what becomes of a path.

        above: what became of the directory that it is in.
        ignored: the rules of git there.
        """
        if path.name == ".git":
            return Choice.NEVER
        name = _name(path, self._top)
        self._unused = {k: spec for k, spec in self._unused.items() if not spec.match_file(name)}
        # A rule that matches a directory matches all that is in it.
        if (included := self._include.check_file(name).include) is not None:
            return Choice.PACKED if included else Choice.NEVER
        if above is not Choice.PACKED:
            return above
        if (unwanted := self._own.check_file(name).include) is not None:
            return Choice.UNWANTED if unwanted else Choice.PACKED
        return Choice.IGNORED if ignored.file_for(path) is not None else Choice.PACKED

    def file_for(self, path: Path) -> Path:
        """Return the file whose rules leave out a path in the directory."""
        return self.rules().file_for(path) or self._top / _OWN_FILE


class Ignored:
    """The rules for one directory: its own, then those above it, up to the top of the repository.

    The last matching rule counts, and the nearest file goes first: gitignore(5).
    """

    def __init__(self, directory: Path, above: Sequence[tuple[Path, GitIgnoreSpec]] = ()) -> None:
        own = _read(directory / _FILE)
        self._rules = [(directory, own), *above] if own is not None else [*above]

    @classmethod
    def at(cls, directory: Path) -> Ignored:
        """Return the rules for a directory anywhere in a repository, or in none."""
        parents = list(_up_to_top(directory))
        found = [
            (parent, rules) for parent in parents if (rules := _read(parent / _FILE)) is not None
        ]
        chain = [directory, *parents]
        return cls(
            directory, [(base, _without_rules_for(rules, base, chain)) for base, rules in found]
        )

    def below(self, directory: Path) -> Ignored:
        """Return the rules for a directory in this one."""
        return Ignored(directory, self._rules)

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


def _relative(pattern: str) -> str:
    """Return a pattern without `./`, with which shells complete; it is anchored then."""
    sign, rest = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    return f"{sign}/{rest.removeprefix('./')}" if rest.startswith("./") else pattern


def _read(path: Path) -> GitIgnoreSpec | None:
    """Read a file of rules as git does: only LF and CR LF end a line, and a BOM is ignored."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return None
    lines = text.removeprefix("\ufeff").split("\n")
    return GitIgnoreSpec.from_lines(line.removesuffix("\r") for line in lines)
