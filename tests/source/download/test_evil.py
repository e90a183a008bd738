"""Downloads from servers that mean no good, on a virtual clock and without sockets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from smartmob_agent.config.settings import EgressRules
from smartmob_agent.errors import TransientDownloadError
from smartmob_agent.source.download.dialer import Dialer, Resolver
from smartmob_agent.source.download.egress import EgressFilter
from smartmob_agent.source.download.http_fetcher import make_fetcher
from tests.source.fetching import make_request
from tests.source.servers import open_memory_server

from .evil import EVILS, LIMITS, SILENT, TOO_SLOW, Evil


async def lookup(host: str) -> Sequence[str]:
    """One name is known; the C library knows what is a number."""
    return ["192.0.2.1"] if host == "h" else await Resolver().lookup(host)


@pytest.mark.parametrize("evil", EVILS, ids=lambda evil: evil.path)
async def test_evil(evil: Evil, mock_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """The error is the right one, nothing is left, and nothing secret is told."""

    async def pause(stream: trio.abc.Stream, seconds: float) -> None:
        assert isinstance(stream, trio.StapledStream)
        await stream.send_stream.wait_send_all_might_not_block()
        mock_clock.jump(seconds)
        await trio.lowlevel.checkpoint()

    path = tmp_path / "archive"
    url = f"http://user:secret@h{evil.path}?secret#secret"
    async with open_memory_server(partial(evil.handle, pause)) as (server, connect):
        dialer = Dialer(policy=EgressFilter.of(EgressRules()), lookup=lookup, connect=connect)
        fetcher = make_fetcher(LIMITS, dial=dialer.dial)
        fetcher.random = float  # No delay: nobody is there to let it pass.
        if evil.error is None:
            assert await fetcher.fetch(make_request(url, path))
        else:
            with pytest.raises(evil.error) as info:
                await fetcher.fetch(make_request(url, path))
            assert re.fullmatch(rf"http://\S+: ({evil.message})", str(info.value))
            assert "secret" not in str(info.value)
            assert evil.error is TransientDownloadError or not path.exists()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open == 0
    if evil.message in {SILENT, TOO_SLOW}:
        assert trio.current_time() == {SILENT: 1.0, TOO_SLOW: 2.5}[evil.message]
