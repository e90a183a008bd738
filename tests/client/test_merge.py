"""Several logs become one, in the order of time."""

from __future__ import annotations

import json
from collections.abc import Sequence

import trio
from hypothesis import given, strategies as st

from smartmob_agent.client.merge import merge_by_time

Record = dict[str, object]


async def merge(logs: Sequence[Sequence[Record]], part: int = 3) -> list[tuple[int, Record]]:
    seen: list[tuple[int, Record]] = []

    async def feed(send: trio.MemorySendChannel[bytes], records: Sequence[Record]) -> None:
        async with send:
            for begin in range(0, len(records), part):
                some = records[begin : begin + part]
                await send.send(b"".join(json.dumps(record).encode() + b"\n" for record in some))

    def write(number: int, data: bytes) -> None:
        seen.extend((number, json.loads(line)) for line in data.splitlines())

    channels = [trio.open_memory_channel[bytes](0) for _ in logs]
    async with trio.open_nursery() as nursery:
        for (send, _), records in zip(channels, logs, strict=True):
            nursery.start_soon(feed, send, records)
        await merge_by_time([receive for _, receive in channels], write)
    return seen


LOG = st.lists(st.integers(0, 20), max_size=20).map(sorted)


@given(times=st.lists(LOG, min_size=1, max_size=4))
def test_each_record_is_there_once_and_in_order(times: list[list[int]]) -> None:
    logs: list[list[Record]] = [[{"time": f"{time:02}"} for time in log] for log in times]
    seen = trio.run(merge, logs)
    assert [record["time"] for _, record in seen] == sorted(
        str(record["time"]) for log in logs for record in log
    )
    for number, log in enumerate(logs):
        assert [record for source, record in seen if source == number] == log


async def test_what_has_no_time_stays_behind_what_came_before() -> None:
    gap: Record = {"event": "dropped", "lines": 3}
    seen = await merge([[{"time": "1"}, gap, {"time": "4"}], [{"time": "2"}]])
    assert [record for _, record in seen] == [{"time": "1"}, gap, {"time": "2"}, {"time": "4"}]
