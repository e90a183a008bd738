"""All apps of an agent, by name."""

from __future__ import annotations

import contextvars
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial

import attrs
import trio

from smartmob_agent.apps.app import ManagedApp
from smartmob_agent.apps.record import KIND, AppRecord, parse_app
from smartmob_agent.apps.wanted import ENDED, AppState, RolloutState
from smartmob_agent.errors import RequestError, StoppingError
from smartmob_agent.process.spec import Services
from smartmob_agent.process.supervisor import Supervisor
from smartmob_agent.state.seam import StoredDocument

__all__ = ["AppNotFoundError", "Apps", "PreconditionFailedError", "SlugsInUseError"]


class AppNotFoundError(RequestError):
    """No app has this name."""

    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(f"no app has the name {name!r}")
        self.name = name


class PreconditionFailedError(RequestError):
    """Somebody else has changed what is wanted meanwhile: RFC 9110, section 13.1.1."""

    status = 412

    def __init__(self, name: str) -> None:
        super().__init__(f"the app {name!r} is not as `If-Match` says: look at it again")
        self.name = name


class SlugsInUseError(RequestError):
    """A process that is none of the app has a slug that the app wants."""

    status = 409

    def __init__(self, name: str, slug: str) -> None:
        super().__init__(f"the app {name!r} wants the slug {slug!r}, which another process has")
        self.slug = slug


class Apps:
    """Creates, finds and deletes apps.

    outcomes: of rollouts that have ended → how many.
    """

    def __init__(self, nursery: trio.Nursery, supervisor: Supervisor, services: Services) -> None:
        self._nursery = nursery
        self._supervisor = supervisor
        self._services = services
        self._apps: dict[str, ManagedApp] = {}
        self._beginning = trio.Lock()
        self.outcomes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[ManagedApp]:
        """Go through the apps in the order of their names."""
        return iter([self._apps[name] for name in sorted(self._apps)])

    def __len__(self) -> int:
        return len(self._apps)

    def get(self, name: str) -> ManagedApp:
        """Return the app of that name, or raise `AppNotFoundError`."""
        try:
            return self._apps[name]
        except KeyError:
            raise AppNotFoundError(name) from None

    def find(self, name: str) -> ManagedApp | None:
        """Return the app of that name, if there is one."""
        return self._apps.get(name)

    def now(self) -> datetime:
        """Return the time, for show."""
        return self._services.now()

    def restore(self, documents: Iterable[StoredDocument]) -> None:
        """Bring back what an earlier life of the agent has kept, after its processes.

        Processes of apps that are gone are removed.

        Raises `StartError` when a document is not one of this agent's.
        """
        for one in documents:
            if one.key[0] == KIND:
                record = AppRecord(
                    self._services.state, parse_app(one.key, one.value), one.revision
                )
                self._begin(record)
        for process in self._supervisor:
            owner = process.spec.owner
            if owner is not None and owner not in self._apps:
                self._nursery.start_soon(self._supervisor.delete, process.slug)

    async def put(
        self, name: str, change: Callable[[AppState], AppState]
    ) -> tuple[ManagedApp, int]:
        """Want something of an app, which is made if there is none; return it and its version.

        change: gets what is wanted now.  What it raises is raised here, and nothing changes.

        Raises `StoppingError`, and what `ManagedApp.change` raises.
        """
        self._check_open()
        # Two who make the same app at once: the second one changes what the first one has made.
        async with self._beginning:
            app = self._apps.get(name)
            if app is None:
                new = AppState(name=name, created_at=self._services.now(), version=0)
                record = AppRecord(self._services.state, new)
                await record.change(self._checked(change))
                self._check_open()  # Else the next life has it.
                app = self._begin(record)
                self._publish("app", name, {"change": "created"})
                app.begin()
                return app, app.state.version
        version = await app.change(self._checked(change))
        self._publish("app", name, {"change": "changed"})
        return app, version

    def _check_open(self) -> None:
        if self._supervisor.stopping:
            raise StoppingError

    def _checked(self, change: Callable[[AppState], AppState]) -> Callable[[AppState], AppState]:
        """Let no app want a slug that another process has."""

        def checked(state: AppState) -> AppState:
            if state.is_deleted:
                raise AppNotFoundError(state.name)
            wanted = change(state)
            for kind, count in wanted.counts.items():
                for index in range(count):
                    slug = f"{wanted.name}.{kind}.{index}"
                    process = self._supervisor.find(slug)
                    if process is not None and process.spec.owner != wanted.name:
                        raise SlugsInUseError(wanted.name, slug)
            return wanted

        return checked

    async def change(
        self, name: str, change: Callable[[AppState], AppState]
    ) -> tuple[ManagedApp, int]:
        """As `put`, of an app that is there; else `AppNotFoundError`."""
        self._check_open()
        app = self.get(name)
        version = await app.change(self._checked(change))
        self._publish("app", name, {"change": "changed"})
        return app, version

    async def delete(self, name: str, check: Callable[[AppState], None]) -> None:
        """Delete an app with all that it has, and wait until nothing of it is left.

        check: may raise, and nothing has changed then.

        If cancelled: stops waiting; it goes on.
        """
        app = self.get(name)

        def deleted(state: AppState) -> AppState:
            check(state)
            return attrs.evolve(state, is_deleted=True)

        await app.change(deleted)
        await app.gone.wait()

    def _begin(self, record: AppRecord) -> ManagedApp:
        app = ManagedApp(record, self._supervisor, self._services, self._publish)
        self._apps[app.name] = app
        # In a context of its own: it outlives the request that it comes from.
        start = partial(self._nursery.start_soon, self._run, app, name=f"app {app.name}")
        contextvars.Context().run(start)
        return app

    async def _run(self, app: ManagedApp) -> None:
        await app.run()
        del self._apps[app.name]
        self._publish("app", app.name, {"change": "deleted"})

    def _publish(self, kind: str, name: str, fields: Mapping[str, object]) -> None:
        state = str(fields.get("state", fields.get("outcome")))
        if (kind == "rollout" and state in ENDED) or state == RolloutState.SUPERSEDED:
            self.outcomes[state] += 1
        self._supervisor.events.publish_news(kind, name, fields)

    def close(self) -> None:
        """Let all be as it is, for the next life of the agent; safe to call again."""
        self._nursery.cancel_scope.cancel(reason="the agent is to stop")
