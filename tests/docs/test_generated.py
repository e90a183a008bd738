"""Tables and drawings of the documentation, which are made of the code."""

from __future__ import annotations

import importlib
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from smartmob_agent.agent_cli.options import OPTIONS
from smartmob_agent.config import settings as config
from smartmob_agent.metrics.catalogue import ALL
from smartmob_agent.process import states
from smartmob_agent.process.states import TRANSITIONS, State

DOCS = Path(__file__).parents[2] / "docs"
CLASSES = [getattr(config, name) for name in config.__all__]


@pytest.fixture(autouse=True)
def _docs_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)


@pytest.fixture
def tables() -> ModuleType:
    return importlib.import_module("tables")


@pytest.fixture
def stategraph() -> ModuleType:
    return importlib.import_module("stategraph")


@pytest.fixture
def docstrings() -> ModuleType:
    return importlib.import_module("docstrings")


def edges(svg: str) -> set[tuple[str, str]]:
    """Which states the arrows of a drawing join."""
    found = set()
    for path in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path"):
        for old in (path.get("data-from") or "").split(","):
            new = path.get("data-to")
            if old and new:
                found |= {(old, new)} | ({(new, old)} if "data-both" in path.attrib else set())
    return found


def test_the_tables_of_options_have_each_option(tables: ModuleType) -> None:
    """In the sections of the help."""
    lines = "\n".join(tables.option_sections())
    for option in OPTIONS:
        assert f"``{option.flag} {option.info.metavar}``" in lines
    pairs = itertools.pairwise(lines.split("\n"))
    titles = [title for title, rule in pairs if rule == "~" * len(title) != ""]
    assert titles == list(dict.fromkeys(option.info.section for option in OPTIONS))
    defaults = {option.name: tables.option_row(option)[2] for option in OPTIONS}
    assert defaults["port"] == "``8080``"
    assert defaults["host"] == "``127.0.0.1``"
    assert defaults["unix"] == "none"
    assert defaults["cache-bytes"] == "``4GiB``"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_tables_of_limits_have_each_field(cls: type, tables: ModuleType) -> None:
    names = [name for name, *_ in tables.limit_rows(cls)]
    assert names == [f"``{field.name}``" for field in attrs.fields(cls)]


def test_there_is_a_section_of_limits_for_each_class(tables: ModuleType) -> None:
    lines = list(tables.limit_sections())
    titles = [title for title, rule in itertools.pairwise(lines) if rule == "-" * len(title) != ""]
    assert titles[0] == "AgentConfig"
    assert sorted(titles) == sorted(config.__all__)


def test_limits_are_shown_with_their_units_and_options(tables: ModuleType) -> None:
    """Or with the reason why there is none."""
    rows = {name: rest for name, *rest in tables.limit_rows(CONSOLE)}
    assert rows["``console_bytes``"][:2] == ["``1MiB``", "``--console-bytes``"]
    default, option, meaning = rows["``drain_timeout``"]
    assert (default, option) == ("``1s``", "none")
    assert meaning.startswith("Time to wait for the end of the output once the tree of a child")
    assert meaning.endswith("  Only what holds a pipe open outside of the tree takes it.")


CONSOLE = config.OutputLimits


def test_the_table_of_metrics_has_each_metric(tables: ModuleType) -> None:
    rows = {name: rest for name, *rest in tables.metric_rows()}
    assert list(rows) == [f"``{metric.name}``" for metric in ALL]
    assert rows["``smartmob_exits_total``"][:2] == ["counter", "``code``, ``signal``"]
    assert rows["``smartmob_starts_total``"] == [
        "counter",
        "none",
        "Children started, for all processes together.",
    ]


def test_the_graph_of_states_has_each_transition_and_no_other(stategraph: ModuleType) -> None:
    expected = {(old, new) for old, followers in TRANSITIONS.items() for new in followers}
    assert edges(stategraph.draw()) == expected


def test_the_graph_of_states_names_each_state(stategraph: ModuleType) -> None:
    texts = [text.text for text in ET.fromstring(stategraph.draw()).iter() if text.text]
    assert set(State) <= set(texts)


def test_a_transition_without_a_place_in_the_graph_is_an_error(
    stategraph: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {**TRANSITIONS, State.RUNNING: TRANSITIONS[State.RUNNING] | {State.PENDING}}
    monkeypatch.setattr(stategraph, "TRANSITIONS", changed)
    with pytest.raises(ValueError, match=r"from 'running' to 'pending'|RUNNING"):
        stategraph.draw()


def test_the_graph_of_states_has_no_colour_of_its_own(stategraph: ModuleType) -> None:
    """So that it can be read on light and on dark ground."""
    assert "#" not in stategraph.draw().replace("url(#arrow)", "")


def test_the_page_of_states_explains_each_state() -> None:
    text = (DOCS / "states.rst").read_text(encoding="utf-8")
    assert [state for state in states.State if f"   * - ``{state}``\n" not in text] == []


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Calls `serve`.", "Calls ``serve``."),
        ("Already ``code``.", "Already ``code``."),
        (
            "url: of `x`\n  or more.\npid, exit: both",
            "``url``\n    of ``x``\n    or more.\n``pid``, ``exit``\n    both",
        ),
        (
            "Text.\n\nname: a field\n\n    code: `kept`",
            "Text.\n\n``name``\n    a field\n\n    code: `kept`",
        ),
    ],
)
def test_docstrings_become_restructuredtext(
    docstring: str, expected: str, docstrings: ModuleType
) -> None:
    assert "\n".join(docstrings.to_rst(docstring.split("\n"))).strip() == expected


def test_the_map_of_rooms_names_each_room() -> None:
    """Each folder of the package, each module beside them, and nothing that is gone."""
    text = (DOCS / "contributing.rst").read_text(encoding="utf-8")
    table = text[text.index("Rooms\n-----") : text.index("Where a change goes\n-----")]
    package = Path(config.__file__).parents[1]
    folders = {
        f"{path.parent.relative_to(package)}/"
        for path in package.rglob("__init__.py")
        if path.parent != package
    }
    modules = {path.stem for path in package.glob("*.py") if not path.name.startswith("__")}
    named = set(re.findall(r"``([a-z_/]+)``", table))
    assert (folders | modules) - named == set()
    assert {name for name in named if name.endswith("/")} - folders == set()
