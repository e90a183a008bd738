"""What the pages tell a reader to type does what they say."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import trio

from tests.docs.transcript import Block, open_session, play, read_blocks

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
"""Seconds for a page, on the slowest machine."""
TOOLS = ("curl", "grep", "head", "tar", "xargs")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The reader's environment; skips where a tool is not there.

    A directory for temporary files of its own: an agent tidies up behind dead ones.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "TMPDIR": str(tmp_path)} | {
        # The tests on another Python play the same pages at the same time.
        "SMARTMOB_PORTS": f"2{sys.version_info[1] % 10}000-2{sys.version_info[1] % 10}999"
    }


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy of the examples: the reader packs an archive there."""
    copied = shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return Path(copied)


def blocks_of(page: str) -> list[Block]:
    return list(read_blocks(ROOT / "docs" / page))


@pytest.mark.slow
async def test_the_walk_through_is_as_the_page_says(env: dict[str, str], examples: Path) -> None:
    with trio.fail_after(LIMIT):
        await play(blocks_of("walkthrough.rst"), examples, env)


@pytest.mark.slow
async def test_the_examples_of_the_http_page_are_as_it_says(
    env: dict[str, str], examples: Path
) -> None:
    """They need what the walk-through starts in its first two terminals."""
    servers = [b for b in blocks_of("walkthrough.rst") if b.terminal[:10] in SERVERS]
    start, stop = servers[:2], servers[2:]
    with trio.fail_after(LIMIT):
        await play([*start, *blocks_of("http.rst"), *stop], examples, env)


SERVERS = ("Terminal 1", "Terminal 2")


@pytest.mark.slow
async def test_the_session_of_the_command_is_as_the_page_says(
    env: dict[str, str], examples: Path
) -> None:
    """The port on the page is the one that needs no `--agent`; here it is another one."""
    start, *others = blocks_of("smartmob.rst")
    with trio.fail_after(LIMIT):
        async with open_session(examples, {**env, "SMARTMOB_CONFIG": "/nowhere"}) as session:
            await session.play(start)
            url = f"http://127.0.0.1:{session.ports['8080']}"
            session.env = {**session.env, "SMARTMOB_AGENT": url}
            for block in others:
                await session.play(block)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("other", "expected 'other', found 'said'"),
        ("...\nother", "expected 'other', found the end"),
        ("said\nmore", "expected 'more', found the end"),
        ("", "more output than there should be: 'said'"),
    ],
)
async def test_another_output_is_found_out(
    step: str, message: str, env: dict[str, str], tmp_path: Path
) -> None:
    steps = ["$ echo said", *step.split("\n")] if step else ["$ echo said"]
    block = Block(page="page", terminal="", steps=steps)
    with pytest.raises(AssertionError, match=message), trio.fail_after(LIMIT):
        await play([block], tmp_path, env)


async def test_lines_may_be_left_out_and_numbers_may_change(
    env: dict[str, str], tmp_path: Path
) -> None:
    command = "$ for n in 1 2 3; do echo tick $n; done; echo worker 17;\n echo end"
    block = Block(page="page", terminal="", steps=[command, "...", "worker 4", "end"])
    with trio.fail_after(LIMIT):
        await play([block], tmp_path, env)


def test_all_transcripts_are_found() -> None:
    """A block with another indentation would silently not be tested."""
    for page in ("walkthrough.rst", "http.rst", "smartmob.rst"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert text.count("code-block:: console") == len(blocks_of(page))
        assert text.count("$ ") == sum(
            step.startswith("$ ") for block in blocks_of(page) for step in block.steps
        )


def test_the_readme_leads_to_all_pages() -> None:
    """But to those that are made of the code, and that are there under another name."""
    readme = (ROOT / "README.rst").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.rst")}
    missing = {page for page in pages if f"<docs/{page}>`_" not in readme}
    assert missing == {"api.rst", "changes.rst", "index.rst"}
