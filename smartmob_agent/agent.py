"""The agent: its task tree, and the order in which it starts and stops."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import attrs
import trio

from smartmob_agent.api.app import ROUTES, make_app
from smartmob_agent.api.route import ApiContext, rules_of
from smartmob_agent.apps.registry import Apps
from smartmob_agent.bounded import call_bounded
from smartmob_agent.build.builders import open_builders
from smartmob_agent.build.builds import open_builds
from smartmob_agent.build.seam import Builder
from smartmob_agent.child.seam import Spawner
from smartmob_agent.child.spawner import open_spawner
from smartmob_agent.config.settings import AgentConfig, Cache, HttpLimits
from smartmob_agent.errors import StartError
from smartmob_agent.http.asgi import App
from smartmob_agent.http.body_limits import Bodies
from smartmob_agent.http.exposure import check_exposure
from smartmob_agent.http.listeners import Listener, open_listeners
from smartmob_agent.http.middleware.stack import MiddlewareStack, open_middleware
from smartmob_agent.http.server import serve_http
from smartmob_agent.http.tls import Tls, open_tls
from smartmob_agent.metrics.agent import Metrics
from smartmob_agent.output.log.logs import Logs, open_logs
from smartmob_agent.output.log.writer import LogLimits
from smartmob_agent.process.network import LocalNetwork, Loopback
from smartmob_agent.process.ports import Ports
from smartmob_agent.process.spec import Services
from smartmob_agent.process.start_rate import PacedSpawner, StartRate
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.source.app.workspace import Workspaces, open_workspaces
from smartmob_agent.source.download.http_fetcher import make_fetcher
from smartmob_agent.source.download.seam import Fetcher
from smartmob_agent.source.store import open_store
from smartmob_agent.state.seam import StateFailedError, StateStore, StoredDocument
from smartmob_agent.state.sqlite_store import open_sqlite_store

__all__ = ["Agent", "serve"]

_READ_TIMEOUT = 20.0
"""Seconds, real ones, for the files that are read at the start: more means that a disk hangs."""


@attrs.define(eq=False, kw_only=True)
class Agent:
    """An agent that serves.

    url: where it is reached; the first of `urls`.
    urls: one for each socket that it listens on.
    containment: what is promised of each child's tree: see `Spawner.containment`.
    supervisor: its processes, for use without HTTP.
    apps: what is wanted of many processes at once.
    """

    urls: tuple[str, ...]
    containment: str
    supervisor: Supervisor
    apps: Apps
    _gate: MiddlewareStack
    _tls: Tls | None
    _stop: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        return self.urls[0]

    def stop(self) -> None:
        """Begin to stop: refuse new processes and end all; `serve` returns when it is done."""
        self.apps.close()
        self.supervisor.close()
        self._stop.set()

    def kill(self) -> None:
        """As `stop`, but kill all children at once; also while the agent stops."""
        self.apps.close()
        self.supervisor.kill()
        self._stop.set()

    async def reload(self) -> None:
        """Read tokens, certificate, key and client authority again, where there are files of them.

        A file that is no good is told in the log, and what it held stays in force.  Open
        connections are left as they are.

        If cancelled: does not wait for a disk that does not answer.
        """
        await trio.to_thread.run_sync(self._reload, abandon_on_cancel=True)

    def _reload(self) -> None:
        self._gate.reload()
        if self._tls is not None:
            self._tls.reload()

    async def wait_stop(self) -> None:
        """Wait until someone called `stop` or `kill`."""
        await self._stop.wait()


async def serve(
    config: AgentConfig,
    *,
    spawner: Spawner | None = None,
    fetcher: Fetcher | None = None,
    workspaces: Workspaces | None = None,
    network: LocalNetwork | None = None,
    state: StateStore | None = None,
    builders: Sequence[Builder] | None = None,
    task_status: trio.TaskStatus[Agent] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an agent until `Agent.stop` is called; its `Agent` is the value of `nursery.start`.

    spawner, fetcher, workspaces, network: in place of the real ones, such as those of
        `smartmob_agent.testing`.
    state: where processes are kept, in place of the `state_dir` of the config.
    builders: in place of those of the config and those for Python and Node.

    Installs no signal handler, configures no logging and keeps no global state: a program
    may run several.  Raises `StartError` when it cannot begin.

    If cancelled: ends all children as `Agent.stop` does, in at most `stop_timeout` and a few
    seconds, and answers its HTTP clients meanwhile.
    """
    if reason := check_exposure(config):
        raise StartError(reason)
    try:
        files = await call_bounded(partial(_read_files, config), limit=_READ_TIMEOUT)
    except TimeoutError as error:
        raise StartError(
            f"token file, certificates or /proc: no answer in {_READ_TIMEOUT:.0f} seconds"
        ) from error
    gate, metrics, tls = files.gate, files.metrics, files.tls
    async with AsyncExitStack() as stack:
        if state is None and config.state_dir is not None:
            state = await stack.enter_async_context(open_sqlite_store(config.state_dir))
        logs = await _open_logs(config, stack)
        listeners = await stack.enter_async_context(open_listeners(config, tls))
        if workspaces is None:
            opening = open_workspaces(config.work_dir, config.source, _cache_of(config))
            workspaces = await stack.enter_async_context(opening)
        if fetcher is None:
            fetcher = files.fetcher
        if spawner is None:
            spawner = await stack.enter_async_context(
                open_spawner(**attrs.asdict(config.containment))
            )
        store = await stack.enter_async_context(
            open_store(
                metrics.meter_fetcher(fetcher), workspaces.cache, config.cache, config.source
            )
        )
        network = network or Loopback()
        environ = dict(os.environ)
        if builders is None:
            builders = await open_builders(config.build.builders, environ)
        builds = await stack.enter_async_context(
            open_builds(
                config,
                builders,
                spawner=spawner,
                trees=workspaces.cache.trees,
                environ=environ,
            )
        )
        services = Services(
            config=config,
            spawner=PacedSpawner(metrics.meter_spawner(spawner), StartRate(config.max_start_rate)),
            store=store,
            builds=builds,
            workspaces=workspaces,
            network=network,
            ports=Ports(*config.ports, network.is_free),
            environ=environ,
            random=random.Random().random,  # noqa: S311  # It spreads restarts, it guards nothing.
            now=lambda: datetime.now(UTC),
            state=state,
            logs=logs,
        )
        await _run(services, gate, tls, metrics, listeners, task_status)


async def _open_logs(config: AgentConfig, stack: AsyncExitStack) -> Logs | None:
    """Open the logs, if there is a directory for them, behind the lock of the state."""
    if config.state_dir is None:
        return None
    limits = LogLimits(
        process_bytes=config.output.log_bytes,
        total_bytes=config.output.log_total_bytes,
        age=timedelta(days=config.output.log_days),
    )
    return await stack.enter_async_context(open_logs(config.state_dir / "log", limits))


def _cache_of(config: AgentConfig) -> Cache:
    """The cache lasts as long as the processes whose archives are in it."""
    if config.state_dir is None or config.cache.cache_dir is not None:
        return config.cache
    return attrs.evolve(config.cache, cache_dir=config.state_dir / "cache")


@attrs.frozen(kw_only=True)
class _Files:
    """What is made of files that are read at the start."""

    gate: MiddlewareStack
    metrics: Metrics
    tls: Tls | None
    fetcher: Fetcher


def _read_files(config: AgentConfig) -> _Files:
    """Raises `StartError`."""
    return _Files(
        gate=open_middleware(config),
        metrics=Metrics(cgroup=config.containment.cgroup),
        tls=open_tls(config.security),
        fetcher=make_fetcher(config.source, config.egress),
    )


async def _run(
    services: Services,
    gate: MiddlewareStack,
    tls: Tls | None,
    metrics: Metrics,
    listeners: Sequence[Listener],
    task_status: trio.TaskStatus[Agent],
) -> None:
    """The task tree.  It ends in this order: rollouts of apps; processes, and with them their
    consoles, so that clients get a close frame; the HTTP server last.
    """
    stop_http, http = trio.Event(), trio.CancelScope()
    renewals = trio.CancelScope()
    documents = await _read_kept(services.state)
    async with trio.open_nursery() as root:
        try:
            async with trio.open_nursery() as processes, trio.open_nursery() as rollouts:
                supervisor = Supervisor(processes, services)
                apps = Apps(rollouts, supervisor, services)
                metrics.watch(supervisor, apps)
                supervisor.restore(documents)
                apps.restore(documents)
                urls = tuple(listener.url for listener in listeners)
                agent = Agent(
                    urls=urls,
                    containment=services.spawner.containment,
                    supervisor=supervisor,
                    apps=apps,
                    gate=gate,
                    tls=tls,
                )
                context = ApiContext(
                    routes=ROUTES,
                    supervisor=supervisor,
                    apps=apps,
                    config=services.config,
                    metrics=metrics,
                )
                rules, limits = rules_of(context), services.config.http
                metrics.traffic.add_routes(rules.patterns)
                app = gate.wrap(
                    make_app(context, own_url=agent.url),
                    metrics.traffic,
                    open_paths=rules.open_paths,
                    any_host_paths=rules.any_host_paths,
                    quiet_paths=rules.quiet_paths,
                )
                bodies = Bodies(limits, rules.body_limits)
                await root.start(_serve_http, app, listeners, limits, bodies, stop_http, http)
                # Ends by its event now, which is set on every path, and `graceful_timeout` after
                # it.  Not before: what is cancelled while it starts has to end by that, and a
                # task of it that is being cancelled must not find a shield before it is over.
                await trio.lowlevel.checkpoint_if_cancelled()
                http.shield = True
                if tls is not None:
                    root.start_soon(_watch, tls, renewals)
                task_status.started(agent)
                try:
                    await agent.wait_stop()
                finally:
                    apps.close()
                    supervisor.close()
        finally:
            renewals.cancel(reason="the agent has ended")
            stop_http.set()


async def _read_kept(state: StateStore | None) -> Sequence[StoredDocument]:
    """Return all that an earlier life of the agent has kept, in the order of its creation: each
    part of the agent brings back the kinds of documents that are its own.

    Raises `StartError`.
    """
    if state is None:
        await trio.lowlevel.checkpoint()
        return ()
    try:
        return (await state.read_all()).documents
    except StateFailedError as exc:
        raise StartError(str(exc)) from exc


async def _watch(tls: Tls, scope: trio.CancelScope) -> None:
    with scope:
        await tls.watch()


async def _serve_http(
    app: App,
    listeners: Sequence[Listener],
    limits: HttpLimits,
    bodies: Bodies,
    stop: trio.Event,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    with scope:
        await serve_http(
            app, listeners, limits=limits, bodies=bodies, stop=stop, task_status=task_status
        )
