"""What happens to processes, as Server-Sent Events.

The format is that of the HTML Living Standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping

import attrs
import trio

from smartmob_agent.api.documents import (
    EVENT_FIELDS,
    PROCESS_STATUS,
    STATE,
    event_record,
    process_status,
)
from smartmob_agent.api.kinds import NUMBER, SWITCH, TEXT, QueryOption, number, parse_query
from smartmob_agent.api.links import Links
from smartmob_agent.api.route import Answer, ApiContext, Reply, Request, Route
from smartmob_agent.api.schemas import (
    Document,
    Schema,
    count,
    document,
    document_with,
    or_null,
    text,
    time,
)
from smartmob_agent.api.streams.following import STREAM_HEADERS, QuietTimer
from smartmob_agent.output.batch import rfc3339
from smartmob_agent.output.cursor import Cursor
from smartmob_agent.process.events import EventsMissedError, News, TransitionEvent
from smartmob_agent.process.spec import ProcessSpec
from smartmob_agent.process.states import State
from smartmob_agent.process.supervisor import Supervisor

__all__ = ["ROUTES", "EventStream", "Selection"]

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    **STREAM_HEADERS,
}
_OPTIONS: Mapping[str, QueryOption] = {
    "slug": QueryOption(kind=TEXT, many=True, about="Only processes with one of these slugs."),
    "app": QueryOption(kind=TEXT, many=True, about="Only processes of one of these apps."),
    "after": QueryOption(
        kind=NUMBER,
        about="Go on after this event, as with `Last-Event-ID`, which counts for more.",
    ),
    "follow": QueryOption(kind=SWITCH, default=1, about="0: only what there is already."),
}


@attrs.frozen(kw_only=True)
class Selection:
    """Which processes a reader wants to hear of; nothing stands for all."""

    slugs: frozenset[str] = frozenset()
    apps: frozenset[str] = frozenset()

    def has(self, spec: ProcessSpec) -> bool:
        """Whether it is about this process."""
        by_slug = not self.slugs or spec.slug in self.slugs
        return by_slug and (not self.apps or spec.app in self.apps)

    def has_app(self, app: str) -> bool:
        """Whether it is about this app."""
        return not self.slugs and (not self.apps or app in self.apps)


class EventStream:
    """The body of an answer that goes on until the agent has ended all processes.

    Call `begin` or `resume` first.
    """

    def __init__(
        self, supervisor: Supervisor, selection: Selection, links: Links, timer: QuietTimer
    ) -> None:
        self._supervisor, self._events = supervisor, supervisor.events
        self._selection, self._links = selection, links
        self._timer = timer
        self._first: deque[bytes] = deque()
        self._over = False
        self._cursor: Cursor[TransitionEvent | News]

    def begin(self) -> None:
        """Begin with all that is, and go on with what happens to it."""
        self._cursor = self._events.subscribe(wants=self._wants)
        processes = [
            process_status(process, self._links)
            for process in self._supervisor
            if self._selection.has(process.spec)
        ]
        seq = self._events.last_seq
        snapshot = json.dumps({"seq": seq, "processes": processes}).encode()
        self._first.append(_render("snapshot", snapshot, seq))

    def resume(self, last: str) -> None:
        """Go on after an event; if what comes next is gone, say so and begin anew."""
        missed: int | None = None
        try:
            self._cursor = self._events.subscribe(after=number(last), wants=self._wants)
            missed = self._cursor.gap
        except ValueError:
            pass  # It is of another agent, or of an earlier life of this one.
        if missed != 0:
            self._first.append(_render_gap(missed))
            self.begin()

    def read_now(self) -> bytes:
        """Return what there is."""
        parts = [*self._first]
        while (event := self._cursor.receive_nowait()) is not None:
            parts.append(_render_event(event))
        return b"".join(parts)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        """Wait for more.  If cancelled: nothing is lost."""
        await trio.lowlevel.checkpoint()
        if self._first:
            return self._first.popleft()
        if self._over:
            raise StopAsyncIteration
        part = await self._timer.next(self._receive)
        # A comment: an `id` alone is an empty event for some libraries.  With its number our own
        # client, when it wants few events, has one that is not too old to go on from.
        return b": %d\n" % (self._cursor.next_number - 1) if part is None else part

    async def _receive(self) -> bytes:
        try:
            return _render_event(await self._cursor.receive())
        except trio.EndOfChannel:
            self._over = True
            return _render("end", b'{"reason": "agent"}')
        except EventsMissedError as exc:
            self._over = True  # As a console of text: whoever comes again begins anew.
            return _render_gap(exc.count)

    def _wants(self, event: TransitionEvent | News) -> bool:
        if isinstance(event, News):
            return self._selection.has_app(event.app)
        return self._selection.has(event.transition.spec)


def _render(kind: str, data: bytes, seq: int | None = None) -> bytes:
    ident = b"" if seq is None else b"id: %d\n" % seq
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), ident, data)


def _render_event(event: TransitionEvent | News) -> bytes:
    if isinstance(event, News):
        record = {"seq": event.seq, "time": rfc3339(event.time), "app": event.app, **event.record}
        return _render(event.kind, json.dumps(record).encode(), event.seq)
    return _render("state", event.rendered(_encode), event.seq)


def _encode(event: TransitionEvent) -> bytes:
    """Return its data."""
    step = event.transition
    record = {
        "seq": event.seq,
        "time": rfc3339(event.time),
        "previous": step.previous and step.previous.value,
        **event_record(step),
    }
    return json.dumps(record).encode()


def _render_gap(missed: int | None) -> bytes:
    return _render("gap", json.dumps({"missed": missed}).encode())


_SNAPSHOT = Document(
    name="Snapshot",
    schema=document(
        "Data of the event `snapshot`: all that is.",
        seq=count("The number of the latest event."),
        processes={"type": "array", "items": PROCESS_STATUS},
    ),
)
_STATE_EVENT = Document(
    name="StateEvent",
    schema=document_with(
        "Data of the event `state`: a step of a process.",
        {
            "seq": count("Its number, which is its `id`, too."),
            "time": time("When"),
            "previous": or_null(STATE),
            **EVENT_FIELDS,
            # Nobody sees a process that is gone, but each hears of its end.
            "state": text(enum=[state.value for state in State]),
        },
    ),
)


def _news(name: str, about: str, **fields: Schema | Document) -> Document:
    numbered = {
        "seq": count("Its number, which is its `id`, too."),
        "time": time("When"),
        "app": text("Its name."),
    }
    return Document(name=name, schema=document_with(about, {**numbered, **fields}))


_APP_EVENT = _news(
    "AppEvent",
    "Data of the event `app`: what is wanted of an app has changed.",
    change=text(enum=["created", "changed", "deleted"]),
)
_RELEASE_EVENT = _news(
    "ReleaseEvent",
    "Data of the event `release`: a release has begun, or its rollout has ended.",
    release=count("Its number.", minimum=1),
    outcome=text(enum=["rolling", "done", "failed", "halted", "superseded"]),
)
_ROLLOUT_EVENT = _news(
    "RolloutEvent",
    "Data of the event `rollout`: a step of a rollout.",
    release=count("Of the release on its way.", minimum=1),
    state=text("As in the document of the app."),
    step=text("What is under way, or what failed."),
    done=count("Slots that have it for good."),
    total=count("Slots that are to have it."),
    error=or_null(text("Why it failed: one line for a human.")),
)
_GAP = Document(
    name="Gap",
    schema=document(
        "Data of the event `gap`: events are gone.",
        missed=or_null(count("How many; null where nobody knows.")),
    ),
)
_END = Document(
    name="End",
    schema=document("Data of the event `end`: nothing comes any more.", reason={"const": "agent"}),
)


def _event_schema(kind: str, data: Document, *, numbered: bool) -> Schema:
    """A server-sent event: what it holds is text, and JSON in that."""
    properties: dict[str, Schema | Document] = {
        "event": {"const": kind},
        "data": text(contentMediaType="application/json", contentSchema=data),
    }
    if numbered:
        properties["id"] = text("Of the event; what comes next has a greater one.")
    return document_with(f"`{kind}`", properties)


_SERVER_EVENT = Document(
    name="ServerEvent",
    schema={
        "description": "One of the events, as the HTML Living Standard has them in section 9.2.",
        "oneOf": [
            _event_schema("snapshot", _SNAPSHOT, numbered=True),
            _event_schema("state", _STATE_EVENT, numbered=True),
            _event_schema("app", _APP_EVENT, numbered=True),
            _event_schema("release", _RELEASE_EVENT, numbered=True),
            _event_schema("rollout", _ROLLOUT_EVENT, numbered=True),
            _event_schema("gap", _GAP, numbered=False),
            _event_schema("end", _END, numbered=False),
        ],
    },
)


async def _events(context: ApiContext, request: Request) -> Answer:
    options = parse_query(request.query, _OPTIONS)
    selection = Selection(
        slugs=frozenset(options.get("slug", ())), apps=frozenset(options.get("app", ()))
    )
    timer = QuietTimer(request.client, context.config.http.ping_interval)
    stream = EventStream(context.supervisor, selection, request.links, timer)
    # What a browser sends when it comes again counts for more than the URL it first had.
    last = request.headers.get("last-event-id", options.get("after"))
    if last is None:
        stream.begin()
    else:
        stream.resume(str(last))
    body = stream if options.get("follow", True) else stream.read_now()
    return Answer(body=body, headers=_HEADERS)


ROUTES = (
    Route(
        method="GET",
        path="/events",
        handle=_events,
        id="readEvents",
        tag="processes",
        summary="Hear what happens to processes, as it happens",
        about=("Server-Sent Events; the schema is that of each one.  A comment is a sign of life."),
        query=_OPTIONS,
        headers={
            "Last-Event-ID": QueryOption(
                kind=TEXT, about="Go on after this event, without a snapshot."
            )
        },
        replies={
            200: Reply(
                "They go on.", {"text/event-stream": _SERVER_EVENT}, headers=("Cache-Control",)
            )
        },
    ),
)
