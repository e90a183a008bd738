"""What stays of output, whatever becomes of the agent, the disk and the clock."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
import trio

from smartmob_agent.errors import StartError
from smartmob_agent.output.batch import Stream
from smartmob_agent.output.log import logs as logs_module, process_log
from smartmob_agent.output.log.files import find_number, number_at, read_items
from smartmob_agent.output.log.logs import open_logs
from smartmob_agent.output.log.marks import Marks, find_marks
from smartmob_agent.output.log.segment import IndexReader, find_segments, read_at
from tests.output.log.place import LIMITS, SLUG, MiB, Place, Wall, open_place

OUT = Stream.STDOUT
LINE = b"x" * 99 + b"\n"


async def write(place: Place, *lines: bytes) -> None:
    for line in lines:
        place.console.publish(OUT, line)
    await place.log.flush()


def texts(seen: list[object]) -> list[str]:
    return [one[1] if isinstance(one, tuple) and one[0] != "gap" else str(one) for one in seen]


def after_kill(tmp_path: Path, name: str) -> Path:
    """A copy of the directory as it is now: what a SIGKILL at this moment would leave."""
    copy = tmp_path / name
    shutil.copytree(tmp_path / "at" / "log", copy / "log")
    status = (copy / "log").stat()
    shared = copy / "shared"
    shared.mkdir()
    for path in (tmp_path / "at" / "shared").iterdir():
        mark = f"smartmob-agent-{os.geteuid()}-{status.st_dev:x}-{status.st_ino:x}"
        shutil.copy(path, shared / mark)
    return copy


@pytest.fixture
def at(tmp_path: Path) -> Path:
    path = tmp_path / "at"
    path.mkdir()
    return path


async def test_numbers_go_on_over_processes_and_agents(at: Path) -> None:
    for life in range(3):
        async with open_place(at) as place:
            assert place.console.next_line == 3 * life + 1
            await write(place, b"one\n")
            await place.restart()
            await write(place, b"two\n")
            place.logs.close(place.log)
            await place.log.flush()
            await trio.testing.wait_all_tasks_blocked()
            place.begin()
            await write(place, b"three\n")
            assert texts(await place.read()) == ["one", "two", "three"] * (life + 1)
            place.logs.close(place.log)
            place.begin()  # At once: the disk has not been asked yet.
            await place.log.flush()
            await trio.testing.wait_all_tasks_blocked()
            assert place.log.mark is not None
            await place.restart()
            place.logs.close(place.log)
            await place.log.flush()
            await trio.testing.wait_all_tasks_blocked()
    assert [*(at / "shared").iterdir()] == []
    assert not (at / "log" / "in-use").exists()


async def test_only_the_owner_reads_it(at: Path) -> None:
    async with open_place(at) as place:
        await write(place, b"secret\n")
        place.log.save()
        await place.log.flush()
        for path in [at / "log", *(at / "log").rglob("*"), *(at / "shared").iterdir()]:
            assert path.stat().st_mode & 0o077 == 0, path


async def test_ordinary_tools_read_it(at: Path) -> None:
    async with open_place(at) as place:
        await write(place, b"one\n", b"two\n")
        files = sorted((at / "log" / SLUG).glob("*.log"))
        assert b"".join(path.read_bytes() for path in files) == b"one\ntwo\n"
        index = sorted((at / "log" / SLUG).glob("*.idx"))[0].read_text()
    assert index.splitlines()[0].split()[:7] == [
        *("1", "1", "2026-01-01T12:00:00.000Z", "-", "stdout", "0", "4")
    ]


async def test_a_kill_costs_what_was_not_written_and_that_is_told(tmp_path: Path, at: Path) -> None:
    async with open_place(at) as place:
        await write(place, b"one\n")
        place.leaky.leaks = True  # These were told to readers, and did not come to the disk.
        await write(place, b"lost\n", b"lost\n")
        killed = after_kill(tmp_path, "killed")
    async with open_place(killed) as place:
        assert place.console.next_line == 4
        await write(place, b"two\n")
        assert texts(await place.read()) == ["one", "('gap', 2)", "two"]


async def test_a_log_of_which_nothing_was_written_goes_on_as_well(tmp_path: Path, at: Path) -> None:
    async with open_place(at) as place:
        place.leaky.leaks = True
        await write(place, b"lost\n")
        killed = after_kill(tmp_path, "killed")
    async with open_place(killed) as place:
        assert place.console.next_line == 2


@pytest.mark.parametrize("cut", [1, 5, 40, 80, 500])
@pytest.mark.parametrize("suffix", ["log", "idx"])
async def test_what_was_begun_is_cut_at_any_byte(
    tmp_path: Path, at: Path, cut: int, suffix: str
) -> None:
    """Lines that are whole stay, and no others; what comes is written behind them."""
    async with open_place(at) as place:
        await write(place, *(b"line %d\n" % number for number in range(1, 11)))
        killed = after_kill(tmp_path, "killed")
    [file] = (killed / "log" / SLUG).glob(f"*.{suffix}")
    os.truncate(file, max(file.stat().st_size - cut, 0))
    async with open_place(killed) as place:
        assert place.console.next_line == 11
        await write(place, b"line 11\n")
        seen = await place.read()
        lines = [one for one in seen if isinstance(one, tuple) and one[0] != "gap"]
        gaps = [one[1] for one in seen if isinstance(one, tuple) and one[0] == "gap"]
        assert lines == [(number, f"line {number}") for number, _ in lines]
        assert len(lines) + sum(gaps) == (11 if lines[:1] == [(1, "line 1")] else len(lines))


@pytest.mark.parametrize("damage", [b"", b"\0" * 200, b"1 1 not an entry\n"])
async def test_what_a_power_cut_has_damaged_is_cut(tmp_path: Path, at: Path, damage: bytes) -> None:
    """Shared memory is gone: numbers that may have been told are not given again."""
    async with open_place(at) as place:
        await write(place, b"one\n", b"two\n")
        place.log.save()
        await place.log.flush()
        killed = after_kill(tmp_path, "killed")
    shutil.rmtree(killed / "shared")
    [index] = (killed / "log" / SLUG).glob("*.idx")
    with index.open("ab") as file:
        file.write(damage)
    [text] = (killed / "log" / SLUG).glob("*.log")
    text.write_bytes(b"one\nt\0o\n")
    async with open_place(killed) as place:
        assert place.console.next_line == 3 + 1_000_000
        await write(place, b"three\n")
        assert texts(await place.read()) == ["one", "('gap', 1000001)", "three"]


async def test_a_segment_that_is_damaged_from_its_beginning_is_left_out(
    tmp_path: Path, at: Path
) -> None:
    async with open_place(at) as place:
        await write(place, b"one\n")
        killed = after_kill(tmp_path, "killed")
    shutil.rmtree(killed / "shared")
    [text] = (killed / "log" / SLUG).glob("*.log")
    text.write_bytes(b"\0\0\0\0")
    (killed / "log" / SLUG / "notes.idx").write_text("no segment\n")
    (killed / "log" / SLUG / f"{7:020}.idx").write_text("no entry\n")
    (killed / "log" / SLUG / "state.json").write_text("[]")
    async with open_place(killed) as place:
        assert place.log.segments == ()


async def test_a_log_is_bounded(at: Path) -> None:
    limits = attrs.evolve(LIMITS, process_bytes=1)
    async with open_place(at, limits=limits) as place:
        for _ in range(300):
            await write(place, LINE * 100)
        assert MiB // 2 < place.log.cost_bytes <= MiB
        files = sum(path.stat().st_size for path in (at / "log" / SLUG).iterdir())
        assert files <= MiB
        seen = await place.read()
        assert len(seen) == place.log.next_number - place.log.segments[0].first


@attrs.define(eq=False)
class Swept:
    """Has the thread look for what is too old, at once."""

    wall: Wall

    async def __call__(self, place: Place, is_done: Callable[[], bool]) -> None:
        """Return when it is done: the look comes behind what is written, whenever that is."""
        with trio.fail_after(10):
            await trio.lowlevel.checkpoint()
            while not is_done():
                self.wall.advance(61)
                place.console.publish(OUT, b"now\n")
                await place.log.flush()
                await trio.testing.wait_all_tasks_blocked()


async def test_what_is_too_old_is_removed_and_in_the_end_forgotten(at: Path) -> None:
    wall = Wall()
    async with open_place(at, wall=wall) as place:
        old = place.logs.open("old.web.0")
        from smartmob_agent.output.console import Console

        Console(1, wall, old).publish(OUT, b"old\n")
        await write(place, b"one\n")
        place.logs.close(old)
        await old.flush()
        assert set(place.logs) == {SLUG, "old.web.0"}
        assert len(place.logs) == 2
        wall.advance(timedelta(days=8).total_seconds())
        await Swept(wall)(place, lambda: set(place.logs) == {SLUG})
        assert place.logs.written_bytes > 0
        assert place.logs.lost_lines == 0
        assert texts(await place.read())[-1] == "now"
        assert not (at / "log" / "old.web.0").exists()
        # One that comes back meanwhile is not forgotten.
        place.logs._expire(place.log)
        assert SLUG in place.logs


async def test_marks_of_another_directory_count_for_nothing(at: Path) -> None:
    """It had the same number in the file system, before it was removed."""
    async with open_place(at) as place:
        await write(place, b"one\n")
        [left] = (at / "shared").iterdir()
        kept = left.read_bytes()
    left.write_bytes(kept)
    (at / "log" / "in-use").unlink(missing_ok=True)
    shutil.rmtree(at / "log" / SLUG)
    async with open_place(at) as place:
        assert place.console.next_line == 1


async def test_an_idle_agent_looks_too(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "_SWEEP_INTERVAL", 0.001)
    wall = Wall()
    async with open_place(at, wall=wall) as place:
        await write(place, b"one\n")
        wall.advance(timedelta(days=8).total_seconds())
        with trio.fail_after(10):
            await trio.lowlevel.checkpoint()
            while place.log.segments:  # noqa: ASYNC110 -- nobody but the thread knows
                await trio.sleep(0.001)


async def test_all_logs_together_are_bounded(at: Path) -> None:
    """Of those that are deleted first; what is being written stays."""
    from smartmob_agent.output.console import Console

    wall = Wall()
    limits = attrs.evolve(LIMITS, process_bytes=1, total_bytes=MiB // 2)
    async with open_place(at, wall=wall, limits=limits) as place:
        gone = place.logs.open("gone.web.0")
        console = Console(1, wall, gone)
        for _ in range(20):
            wall.advance(1)
            console.publish(OUT, LINE * 100)
            await gone.flush()
            await write(place, LINE * 100)
        place.logs.close(gone)
        before, own = len(gone.segments), place.log.segments[0]
        limits = attrs.evolve(limits, total_bytes=place.logs.kept_bytes - 1)
        place.logs._writer.limits = limits
        await Swept(wall)(place, lambda: len(gone.segments) < before)
        assert place.log.segments[0] is own
        for _ in range(60):
            await write(place, LINE * 100)
        await Swept(wall)(place, lambda: 0 < place.logs.kept_bytes <= limits.total_bytes)
        tiny = attrs.evolve(limits, total_bytes=1)
        place.logs._writer.limits = tiny
        await Swept(wall)(place, lambda: len(place.log.segments) == 1)


class Disk:
    """`os.pwrite` that fails, or hangs."""

    def __init__(self) -> None:
        self.error = 0
        self.free = threading.Event()
        self.free.set()

    def __call__(self, fd: int, data: bytes, offset: int) -> int:
        self.free.wait()
        if self.error:
            os.pwrite(fd, data[:3], offset)
            raise OSError(self.error, os.strerror(self.error))
        return os.pwrite(fd, data[:1000], offset)


async def test_what_a_full_disk_does_not_take_is_told(
    at: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in the agent's log; and when there is room again it goes on."""
    disk = Disk()
    async with open_place(at, write=disk) as place:
        disk.error = errno.ENOSPC
        await write(place, b"lost\n")
        disk.error = 0
        await write(place, b"one\n")
        disk.error = errno.ENOSPC
        await write(place, b"lost\n")
        await write(place, b"lost\n")
        place.log.save()
        await place.log.flush()
        assert place.logs.lost_lines == 3
        disk.error = 0
        await write(place, LINE * 100)
        place.console._max_bytes = 0
        await write(place, b"last\n")
        seen = await place.read()
        assert texts(seen)[0] == "one"
        assert ("gap", 2) in seen
        assert texts(seen)[-1] == "last"
    messages = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    assert messages == ["cannot write the log"] * 2


async def test_numbers_that_cannot_be_kept_are_in_shared_memory(at: Path) -> None:
    disk = Disk()
    async with open_place(at, write=disk) as place:
        await write(place, b"one\n")
        disk.error = errno.EROFS
        await write(place, b"lost\n")
    async with open_place(at) as place:
        assert place.console.next_line == 3


async def test_a_disk_that_hangs_holds_nobody_up(
    at: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process_log, "_FLUSH_TIMEOUT", 0.01)
    monkeypatch.setattr(logs_module, "_CLOSE_TIMEOUT", 0.01)
    disk = Disk()
    async with open_place(at, write=disk) as place:
        await write(place, b"one\n")
        disk.free.clear()
        text = LINE * 1000
        for _ in range(60):
            place.console.publish(OUT, text)
        assert place.logs.queue.pending_bytes <= process_log.PENDING_BYTES + 200_000
        lost = place.logs.lost_lines
        assert lost > 0
        seen = await place.read()
        assert ("gap", lost) in seen or seen[-1] == (60_001, "x" * 99)
        thread = place.logs._thread
    assert "the disk of the logs hangs" in caplog.text
    disk.free.set()
    with trio.fail_after(10):
        await trio.to_thread.run_sync(thread.join)


async def test_all_that_waits_is_bounded(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_log, "ALL_PENDING_BYTES", 1)
    disk = Disk()
    async with open_place(at, write=disk) as place:
        disk.free.clear()
        place.console.publish(OUT, b"one\n")
        place.console.publish(OUT, b"lost\n")
        disk.free.set()
        assert place.log.lost_lines == 1


async def test_one_log_is_not_the_end_of_others(at: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_fd: int, _data: bytes, _offset: int) -> int:
        raise RuntimeError("a fault of ours")

    async with open_place(at, write=fail) as place:
        await write(place, b"one\n")
        assert place.logs._thread.is_alive()
        assert place.logs.lost_lines == 1
    assert "log failed" in caplog.text


async def test_a_directory_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="cannot keep logs in"):
        async with open_logs(tmp_path / "file", LIMITS):
            raise AssertionError


# Marks


def test_without_shared_memory_marks_are_beside_the_logs(tmp_path: Path) -> None:
    assert find_marks(tmp_path / "missing", tmp_path) == tmp_path / "marks"
    (tmp_path / "marks").unlink()
    (tmp_path / "marks").mkdir()
    with pytest.raises(FileNotFoundError):
        find_marks(tmp_path / "missing", tmp_path)


def test_what_is_no_file_has_no_marks(tmp_path: Path) -> None:
    path = find_marks(tmp_path, tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert find_marks(tmp_path, tmp_path) == tmp_path / "marks"


def test_marks_are_taken_and_given_back(tmp_path: Path) -> None:
    path = find_marks(tmp_path, tmp_path)
    marks = Marks(path)
    assert not marks.were_left
    one, two = marks.take("one.0", 1), marks.take("two.0", 5)
    assert one is not None
    assert two is not None
    one.set(7)
    again = Marks(path)
    assert again.were_left
    assert again.found == {"one.0": 7, "two.0": 5}
    mark = again.take("three.0", 9)
    assert mark is not None
    again.give_back(mark)
    assert Marks(path).found == {}


def test_more_processes_than_marks_do_without(tmp_path: Path) -> None:
    marks = Marks(find_marks(tmp_path, tmp_path))
    while marks.take("some.0", 1) is not None:
        pass
    assert marks.take("one.0", 1) is None


async def test_a_log_without_a_mark_is_written_all_the_same(at: Path) -> None:
    async with open_place(at) as place:
        place.log.mark = None
        await write(place, b"one\n")
        assert texts(await place.read()) == ["one"]
        place.logs._give_back(place.log)


# Reading while somebody removes


async def full(place: Place) -> None:
    """Some segments."""
    for number in range(40):
        await write(place, b"%05d" % number + LINE * 100)


async def test_what_expires_while_it_is_read_is_a_gap(at: Path) -> None:
    limits = attrs.evolve(LIMITS, process_bytes=MiB)
    async with open_place(at, limits=limits) as place:
        await full(place)
        segments = place.log.segments
        assert len(segments) > 3
        for path in (segments[0].index_path, segments[1].text_path):
            path.unlink()
        assert find_number(place.log, 1).segment == segments[1].first
        items, _ = read_items(place.log, find_number(place.log, 1), before=10**9)
        assert items[0].first == segments[2].first
        from smartmob_agent.output.line_pattern import LinePattern
        from smartmob_agent.output.log.log_cursor import LogQuery

        found = await place.read(LogQuery(pattern=LinePattern("^000")))
        numbers = [one[0] for one in found if isinstance(one, tuple)]
        assert numbers[0] == segments[2].first
        from smartmob_agent.output.log.files import Place as At

        assert number_at(place.log, At(1, segments[0].first)) == segments[0].first
        assert number_at(place.log, At(1, 10**9)) is None
        items, _ = read_items(
            place.log, At(segments[2].first + 150, segments[2].first), before=10**9
        )
        assert items[0].first == segments[2].first + 150
        segments[3].text_path.write_bytes(b"cut")
        os.truncate(segments[2].index_path, 0)
        assert number_at(place.log, At(1, segments[2].first)) == segments[2].first
        assert len(await place.read()) < 4000
        assert len(await place.read(LogQuery(pattern=LinePattern("x")))) < 4000


async def test_what_cannot_be_removed_is_left(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = attrs.evolve(LIMITS, process_bytes=1)
    async with open_place(at, limits=limits) as place:
        await write(place, LINE * 100)
        first = place.log.segments[0]
        first.text_path.unlink()
        first.text_path.mkdir()
        for _ in range(300):
            await write(place, LINE * 100)
        assert place.log.segments[0] is not first


def test_an_index_that_was_cut_ends_there(tmp_path: Path) -> None:
    (tmp_path / f"{1:020}.idx").write_text(
        "".join(f"{n} 1 2026-01-01T12:00:00.000Z - stdout {n} 1 0\n" for n in range(1, 3000))
    )
    [segment] = find_segments(tmp_path)
    reader = IndexReader(segment)
    assert reader.find(lambda entry: entry.first >= 2000) > 0
    assert reader.find(lambda entry: entry.first >= 9000) == segment.index_size
    os.truncate(segment.index_path, 100)
    assert reader.find(lambda entry: entry.first >= 2000) == segment.index_size
    assert len(list(reader.entries(0))) < 3
    assert read_at(segment.index_path, 0, 10**6)[:4] == b"1 1 "
