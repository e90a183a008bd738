"""A module imports only from rooms below its own, and from its own without cycles."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

import pytest

import smartmob_agent

PACKAGE = Path(smartmob_agent.__file__).parent
FLOORS = {
    "histogram": 0,
    "bounded": 0,
    "config": 1,
    "errors": 1,
    # It speaks with an agent and shares no code with it: see the test of that below.
    "client": 2,
    "http": 2,
    "child": 3,
    "source": 3,
    "output": 3,
    "build": 4,
    # What lasts; it knows nothing of what a document means.
    "state": 3,
    "process": 5,
    "metrics": 7,
    "apps": 6,
    "api": 8,
    "agent": 9,
    "agent_cli": 10,
    # The other command: on top of the client alone, see the test of that below.
    "client_cli": 10,
    # Nothing imports the fakes; the fixtures run an agent.
    "testing": 10,
    "__main__": 11,
    "__init__": 11,
}
SUB_FLOORS = {
    # Within `source`: which of its rooms a room may import.
    "source.disk": set[str](),
    # Directories that are kept, and copied.
    "source.trees": {"source.disk"},
    # Bytes of an archive → files.
    "source.archive": {"source.disk"},
    # Nothing of what becomes of the file: it could be used alone.
    "source.download": {"source.disk"},
    # Which file is an archive, `open_cache` is told.
    "source.cache": {"source.disk", "source.trees"},
    # A workspace is made of an archive, and the agent's own directory may have the cache in it.
    "source.app": {"source.archive", "source.cache", "source.disk", "source.trees"},
}
# Modules of `source` without a room: these lie below its rooms and import none of them; all others
# stand on top and may import any.
SOURCE_BASE = {"source.digests", "source.gunzip"}
SHARED_PARTIES = {"trio", "attrs"}


def modules() -> dict[str, Path]:
    """Dotted name below the package → file."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
    }


def imports_of(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file names in its imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(_absolute(node, path))
    return names


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    # The guard is started by its path and finds its parts beside it.
    assert (node.level, path.parent.name) == (1, "guard"), f"{path}: a relative import"
    return f"smartmob_agent.child.guard.{node.module}"


def own_imports_of(path: Path) -> set[str]:
    prefix = "smartmob_agent."
    return {name.removeprefix(prefix) for name in imports_of(path) if name.startswith(prefix)}


def room(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_only_from_below(module: str) -> None:
    for imported in own_imports_of(modules()[module]):
        if room(imported) != room(module):
            assert FLOORS[room(imported)] < FLOORS[room(module)], f"{module} imports {imported}"


def sub_room(module: str) -> str:
    """The room within a room, or the module itself where it has none."""
    return ".".join(module.split(".")[:2])


@pytest.mark.parametrize("module", sorted(name for name in modules() if room(name) == "source"))
def test_a_module_of_a_source_imports_only_from_sub_rooms_below(module: str) -> None:
    own = sub_room(module)
    imported = {sub_room(name) for name in own_imports_of(modules()[module])}
    beside = {name for name in imported if room(name) == "source"} - {own} - SOURCE_BASE
    if own in SUB_FLOORS:
        assert beside <= SUB_FLOORS[own], module
    elif own in SOURCE_BASE:
        assert beside == set(), module
    else:
        assert own == module, f"{own} is a room without a floor"


def test_there_is_no_cycle() -> None:
    graph = {name: own_imports_of(path) for name, path in modules().items()}
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert len(order) >= len(graph)


def test_each_third_party_package_has_one_importer() -> None:
    """So that it can be replaced; trio and attrs are the language of the whole package."""
    importers: dict[str, set[str]] = {}
    for name, path in modules().items():
        for imported in imports_of(path):
            top = imported.partition(".")[0]
            if top not in SHARED_PARTIES | {"smartmob_agent", "__future__"} | set(STDLIB):
                importers.setdefault(top, set()).add(_one_of_many(name))
    several = {package: names for package, names in importers.items() if len(names) > 1}
    assert several == ALLOWED_SEVERAL


def _one_of_many(name: str) -> str:
    """Return the folder of a subcommand, all of which are declared by click; else the module."""
    return "client_cli.commands" if name.startswith("client_cli.commands.") else name


def test_the_client_shares_nothing_with_the_agent() -> None:
    """A program that only asks an agent loads none; and the wire is the only promise."""
    for name, path in modules().items():
        if room(name) == "client":
            assert {room(imported) for imported in own_imports_of(path)} <= {"client"}, name
        if room(name) == "client_cli":
            rooms = {room(imported) for imported in own_imports_of(path)}
            assert rooms <= {"client", "client_cli"}, name


MOST_MODULES = 20
"""In one folder: so many names are read at a glance."""


def test_no_folder_is_a_crowd() -> None:
    folders = {path.parent for path in modules().values()}
    found = {
        str(folder.relative_to(PACKAGE)): len({*folder.glob("*.py")} - {folder / "__init__.py"})
        for folder in folders
    }
    assert {name: count for name, count in found.items() if count > MOST_MODULES} == {}


def test_the_guard_is_a_program_of_its_own() -> None:
    """It outlives the agent, is started by its path, and each shim is a copy of it."""
    for name, path in modules().items():
        if name.startswith("child.guard."):
            others = {imported.partition(".")[0] for imported in imports_of(path)}
            assert others <= {"smartmob_agent", "__future__", *STDLIB}, name
            own = own_imports_of(path)
            assert {imported.rpartition(".")[0] for imported in own} <= {"child.guard"}, name


def test_http_knows_no_process() -> None:
    """It serves any ASGI application: beside itself it has limits, errors and two helpers."""
    for name, path in modules().items():
        if room(name) == "http":
            rooms = {room(imported) for imported in own_imports_of(path)}
            assert rooms <= {"http", "config", "errors", "histogram", "bounded"}, name


def test_a_class_name_has_one_meaning_within_the_agent() -> None:
    """Client and agent may repeat each other: the wire is all that they share."""
    places: dict[str, list[str]] = {}
    for name, path in modules().items():
        if room(name) not in {"client", "client_cli"}:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_only_the_command_knows_of_signals_and_stderr() -> None:
    for name, path in modules().items():
        text = path.read_text(encoding="utf-8")
        # As PID 1 the agent reaps orphans: the command runs that task, and only then.
        if (FLOORS[room(name)] < 10 or room(name) == "testing") and name != "child.orphans":
            assert "open_signal_receiver" not in text, name
            assert "sys.stderr" not in text, name


def test_the_state_knows_no_meaning() -> None:
    """It keeps documents for any agent, or none: errors are all that it has of ours."""
    for name, path in modules().items():
        if room(name) == "state":
            rooms = {room(imported) for imported in own_imports_of(path)}
            assert rooms <= {"state", "errors"}, name


STDLIB = sys.stdlib_module_names
ALLOWED_SEVERAL = {
    # Its protocol object has a stream for each kind of request: one module would be too long.
    "hypercorn": {"http.protocol.h11", "http.protocol.http_stream", "http.protocol.ws_stream"},
    # The language of a command line, as trio is of the package.
    "click": {"agent_cli.options", "client_cli.cli", "client_cli.commands", "client_cli.options"},
    # The client shares no code with the agent, so both have what speaks HTTP and reads documents.
    "cattrs": {"api.documents", "client.documents", "apps.record", "process.record"},
    "httpx": {"source.download.http_fetcher", "process.network", "client.transport"},
}
