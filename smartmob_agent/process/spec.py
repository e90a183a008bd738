"""What a process is made of: the client's wish, and the agent's means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Literal

import attrs

from smartmob_agent.build.builds import Builds
from smartmob_agent.child.seam import NO_LIMITS, ResourceLimits, Spawner
from smartmob_agent.config.settings import AgentConfig
from smartmob_agent.output.log.logs import Logs
from smartmob_agent.process.network import LocalNetwork
from smartmob_agent.process.policies import PortWish, Readiness, RestartPolicy, StopPolicy
from smartmob_agent.process.ports import Ports
from smartmob_agent.source.app.workspace import Workspaces
from smartmob_agent.source.store import Store
from smartmob_agent.state.seam import StateStore

__all__ = ["ProcessSpec", "Services"]


@attrs.frozen(kw_only=True)
class ProcessSpec:
    """What a client asked for.

    process_type: of the Procfile; None where there is a `command` instead.
    command: for /bin/sh, in the files of the app.
    root: directory of the archive that holds the Procfile; None if it is to be found.
    source_sha256: what the digest of the archive must be: 64 hexadecimal digits, lower case.
    env: variable name → value, on top of everything else.
    ready: None for what is usual for such a process.
    build: whether what the app needs is installed: `auto` or `never`.
    request_id: of the request that created it, sent along with the download.
    owner: the app that it belongs to, and through which alone it is changed; None if nobody's.
    release: of that app.
    """

    app: str
    node: str
    process_type: str | None
    source_url: str
    command: str | None = None
    root: str | None = None
    source_sha256: str | None = None
    env: Mapping[str, str] = attrs.field(factory=dict)
    restart: RestartPolicy = RestartPolicy.ALWAYS
    port: PortWish = "auto"
    ready: Readiness | None = None
    stop: StopPolicy = attrs.field(factory=StopPolicy)
    limits: ResourceLimits = NO_LIMITS
    build: Literal["auto", "never"] = "auto"
    request_id: str = ""
    owner: str | None = None
    release: int | None = None

    @property
    def slug(self) -> str:
        """The name of the process: unique among the living."""
        return f"{self.app}.{self.node}"


@attrs.frozen(kw_only=True)
class Services:
    """What processes need of the world; tests put fakes here.

    state: where processes are kept that are to outlive the agent; None to keep none.
    logs: where output is kept, too; None for memory alone.
    environ: the agent's own environment, of which a child inherits some.
    random: as `random.random`.
    now: the wall clock, with a time zone; for show only, delays use trio's clock.
    """

    config: AgentConfig
    spawner: Spawner
    store: Store
    builds: Builds
    workspaces: Workspaces
    network: LocalNetwork
    ports: Ports
    environ: Mapping[str, str]
    random: Callable[[], float]
    now: Callable[[], datetime]
    state: StateStore | None = None
    logs: Logs | None = None
