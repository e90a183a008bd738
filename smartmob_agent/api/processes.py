"""The routes by which processes are made, seen and deleted, and the index that leads to them."""

from __future__ import annotations

from smartmob_agent.api.documents import (
    CREATE_REQUEST,
    NOTHING,
    PROCESS_STATUS,
    parse_create_request,
    parse_empty_request,
    process_status,
)
from smartmob_agent.api.problem_catalogue import (
    NOT_FOUND,
    OWNED,
    STATE_FULL,
    STOPPING,
    ProblemReply,
)
from smartmob_agent.api.route import (
    Answer,
    ApiContext,
    Body,
    Request,
    Route,
    json_answer,
    json_reply,
)
from smartmob_agent.api.schemas import EXAMPLE_SLUG, Document, LinkTo, document, url
from smartmob_agent.errors import SlugInUseError

__all__ = ["ROUTES"]

_INDEX = Document(
    name="Index",
    schema=document(
        "Where processes are created and listed.",
        create=url("POST a `CreateRequest` there."),
        list=url("GET a `ProcessList` there."),
    ),
    example={"create": LinkTo("createProcess"), "list": LinkTo("listProcesses")},
)
_PROCESS_LIST = Document(
    name="ProcessList",
    schema=document(
        "All processes, in the order of their creation.",
        processes={"type": "array", "items": PROCESS_STATUS},
    ),
    example={"processes": [PROCESS_STATUS.example]},
)
_SLUG_IN_USE = ProblemReply.of(
    "SlugInUse",
    "A process of this slug exists, in whatever state.",
    SlugInUseError(EXAMPLE_SLUG),
)
_OPERATIONS_ON_ONE = (
    "getProcess",
    "getLog",
    "attachConsole",
    "restartProcess",
    "signalProcess",
    "replaceProcess",
    "deleteProcess",
)
_OF_SLUG = {"slug": "$response.body#/slug"}


async def _index(_context: ApiContext, request: Request) -> Answer:
    links = request.links
    document = {"create": links.to("createProcess"), "list": links.to("listProcesses")}
    return json_answer(200, document, {"Link": links.header})


async def _list_processes(context: ApiContext, request: Request) -> Answer:
    statuses = [process_status(process, request.links) for process in context.supervisor]
    return json_answer(200, {"processes": statuses})


async def _create(context: ApiContext, request: Request) -> Answer:
    body = await request.read_body()
    spec = parse_create_request(body, request_id=request.request_id)
    process = context.supervisor.create(spec)
    status = process_status(process, request.links)  # Before it begins: so it is `pending`.
    await process.wait_kept()
    return json_answer(201, status, {"Location": status["details"]})


async def _show(context: ApiContext, request: Request) -> Answer:
    process = context.supervisor.get(request.slug)
    return json_answer(200, process_status(process, request.links))


async def _delete(context: ApiContext, request: Request) -> Answer:
    parse_empty_request(await request.read_body())
    context.supervisor.get(request.slug).check_free()
    await context.supervisor.delete(request.slug)
    return json_answer(200, {})


ROUTES = (
    Route(
        method="GET",
        path="/",
        handle=_index,
        id="index",
        tag="agent",
        summary="Find out where to create and list processes",
        about="What else there is stands in `Link` headers.",
        replies={200: json_reply("The two places.", _INDEX, headers=("Link",))},
    ),
    Route(
        method="GET",
        path="/list-processes",
        handle=_list_processes,
        id="listProcesses",
        tag="processes",
        summary="List all processes",
        replies={200: json_reply("All of them.", _PROCESS_LIST)},
    ),
    Route(
        method="POST",
        path="/create-process",
        handle=_create,
        id="createProcess",
        tag="processes",
        summary="Create a process",
        about="It is `pending` at first; what follows is seen in its status.",
        body=Body(schema=CREATE_REQUEST),
        replies={
            201: json_reply(
                "It is on its way.",
                PROCESS_STATUS,
                headers=("Location",),
                links=dict.fromkeys(_OPERATIONS_ON_ONE, _OF_SLUG),
            )
        },
        problems=(_SLUG_IN_USE, STOPPING, STATE_FULL),
    ),
    Route(
        method="GET",
        path="/process-status/<slug>",
        handle=_show,
        id="getProcess",
        tag="processes",
        summary="Look at a process",
        replies={200: json_reply("Its status.", PROCESS_STATUS)},
        problems=(NOT_FOUND,),
    ),
    Route(
        method="POST",
        path="/delete-process/<slug>",
        handle=_delete,
        id="deleteProcess",
        tag="processes",
        summary="Delete a process",
        about="In every state.  It goes on if the client goes away.",
        body=Body(schema=NOTHING, required=False),
        replies={200: json_reply("The whole tree is gone, and its files are removed.", NOTHING)},
        problems=(NOT_FOUND, OWNED, STATE_FULL),
    ),
)
