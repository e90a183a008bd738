"""A world whose every answer a test decides: downloads, unpackings, starts and exits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from pathlib import Path

import attrs
import trio

from smartmob_agent.child.seam import Command
from smartmob_agent.errors import (
    BuildError,
    DownloadError,
    InvalidProcfileError,
    NoProcfileError,
    SpawnError,
    TransientDownloadError,
    TransientError,
    UnpackError,
)
from smartmob_agent.source.app.workspace import Unpacked
from smartmob_agent.source.download.seam import Fetched, FetchRequest
from smartmob_agent.source.trees.seam import HeldTree
from smartmob_agent.testing import (
    FakeBuilder,
    FakeChild,
    FakeFetcher,
    FakeSpawner,
    FakeWorkspace,
    FakeWorkspaces,
)
from tests.determinism.model import BUILT, Answer, Waiting

PROCFILES = {
    Answer.GOOD: b"web: serve\n",
    Answer.NO_PROCFILE: None,
    Answer.BROKEN_PROCFILE: b"?\n",
    Answer.OTHER_TYPES: b"worker: work\n",
    Answer.MISSING_VARIABLE: b"web: serve\n",
}
APP_JSONS = {Answer.MISSING_VARIABLE: b'{"env": {"MISSING": {"required": true}}}'}
ERRORS: dict[tuple[Waiting, Answer], Callable[[], Exception]] = {
    (Waiting.DOWNLOAD, Answer.PASSING): lambda: TransientDownloadError("503"),
    (Waiting.UNPACK, Answer.PASSING): lambda: TransientError("disk full"),
    (Waiting.BUILD, Answer.PASSING): lambda: SpawnError("no memory"),
    (Waiting.SPAWN, Answer.PASSING): lambda: SpawnError("no memory"),
}
OTHER_ERRORS: dict[Answer, Callable[[], Exception]] = {
    Answer.DEFECT: ZeroDivisionError,
    Answer.NO_ARCHIVE: lambda: DownloadError("not an archive"),
    Answer.DAMAGED: lambda: UnpackError("damaged"),
    Answer.NO_ROOT: lambda: NoProcfileError("no such directory"),
    Answer.TOO_BIG_PROCFILE: lambda: InvalidProcfileError("too long", line=1),
}


@attrs.define(eq=False)
class Questions:
    """What the world was asked, and has not answered yet: by process and kind."""

    asked: dict[tuple[str, Waiting], trio.Event] = attrs.field(factory=dict)
    answers: dict[tuple[str, Waiting], Answer] = attrs.field(factory=dict)

    async def ask(self, slug: str, waiting: Waiting) -> Answer:
        """Wait for the answer; raise it if it is an error."""
        key = (slug, waiting)
        assert key not in self.asked, f"{slug} asks twice for a {waiting.value}"
        self.asked[key] = trio.Event()
        try:
            await self.asked[key].wait()
        finally:
            del self.asked[key]
        answer = self.answers.pop(key)
        if error := ERRORS.get((waiting, answer), OTHER_ERRORS.get(answer)):
            raise error()
        return answer

    def answer(self, slug: str, waiting: Waiting, answer: Answer) -> None:
        self.answers[slug, waiting] = answer
        self.asked[slug, waiting].set()


class PuppetFetcher(FakeFetcher):
    """The host of a URL is the slug of the process."""

    def __init__(self, questions: Questions) -> None:
        super().__init__()
        self._questions = questions
        self._numbers = itertools.count()

    async def fetch(self, request: FetchRequest) -> Fetched:
        await self._questions.ask(request.url.split("/")[2], Waiting.DOWNLOAD)
        return Fetched(sha256=f"{next(self._numbers):064x}", size_bytes=1, etag=None)


class PuppetWorkspaces(FakeWorkspaces):
    def __init__(self, questions: Questions) -> None:
        super().__init__()
        self.questions = questions

    def open(self, slug: str) -> FakeWorkspace:
        workspace = PuppetWorkspace(self, slug)
        self.opened.append(workspace)
        return workspace


class PuppetWorkspace(FakeWorkspace):
    def __init__(self, factory: PuppetWorkspaces, slug: str) -> None:
        super().__init__(factory, slug)
        self._questions = factory.questions
        self._slug = slug

    async def unpack(self, archive: Path, root: str | None = None) -> Unpacked:
        answer = await self._questions.ask(self._slug, Waiting.UNPACK)
        return Unpacked(
            root=self.directory / self._slug,
            procfile=PROCFILES[answer],
            app_json=APP_JSONS.get(answer),
            files={self._slug},
            found="nothing",
        )

    async def copy(self, tree: HeldTree) -> Path:
        await super().copy(tree)
        return self.directory


class PuppetBuilder(FakeBuilder):
    """Builds the processes of one slug.

    broken: whether nobody can tell which ones those are.
    """

    broken = False

    def wants(self, files: Collection[str]) -> bool:
        if self.broken:
            raise BuildError("the builder is broken")
        return f"{BUILT}.0" in files


class PuppetSpawner(FakeSpawner):
    """The name of a child's directory is the slug of its process.

    That of a build has it in its environment, and ends at once.
    """

    def __init__(self, questions: Questions) -> None:
        super().__init__(obey=False)
        self._questions = questions

    async def spawn(self, command: Command) -> FakeChild:
        if command.argv[0] == "fake/build":
            answer = await self._questions.ask(command.env["SLUG"], Waiting.BUILD)
            child = await super().spawn(command)
            child.exit(int(answer is Answer.BROKEN_BUILD))
            return child
        await self._questions.ask(command.cwd.name, Waiting.SPAWN)
        return await super().spawn(command)

    def child_of(self, slug: str) -> FakeChild:
        """The latest child of a process."""
        return next(c for c in reversed(self.children) if c.command.cwd.name == slug)
