"""Tables in reStructuredText, made of the code that they describe."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from docstrings import to_rst

from smartmob_agent.agent_cli import options
from smartmob_agent.config import settings as config
from smartmob_agent.metrics.catalogue import ALL

__all__ = ["limit_rows", "limit_sections", "metric_rows", "option_rows", "table"]

_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"), (1, "bytes"))
_DURATIONS = ("_timeout", "_delay", "_interval", "_uptime")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """Return the lines of a `list-table`.

    widths: of the columns, in percent, as the directive takes them.
    """
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [header, *rows]:
        for number, cell in enumerate(row):
            lines.append(f"     - {cell}" if number else f"   * - {cell}")
    return lines


def option_rows() -> Iterator[Sequence[str]]:
    """Option, variable, default and meaning of each option of the command."""
    for option in options.OPTIONS:
        yield (
            f"``{option.flag} {option.metavar}``",
            f"``{option.variable}``",
            _default(option),
            option.help.replace("*", r"\*"),  # no emphasis
        )


def metric_rows() -> Iterator[Sequence[str]]:
    """Name, type, labels and help of each metric that is the agent's own."""
    for metric in ALL:
        labels = ", ".join(f"``{label}``" for label in metric.labels)
        yield f"``{metric.name}``", metric.kind.value, labels or "none", metric.help


def _default(option: options.Option) -> str:
    if option.switch or option.default in (None, ()):
        return option.shown_default
    return _number(option.default)


def limit_sections() -> Iterator[str]:
    """The lines of a section for each class of the settings, the agent's first."""
    names = sorted(config.__all__, key=lambda name: (name != "AgentConfig", name))
    for name in names:
        cls: type[attrs.AttrsInstance] = getattr(config, name)
        docstring = inspect.cleandoc(cls.__doc__ or "").split("\n")
        yield from (name, "-" * len(name), "", *to_rst(docstring), "")
        yield from table(("Field", "Default", "Meaning"), limit_rows(cls), "26 14 60")
        yield ""


def limit_rows(cls: type[attrs.AttrsInstance]) -> Iterator[Sequence[str]]:
    """Name, default and meaning of each field of a class of `smartmob_agent.config.settings`."""
    docs = _field_docs(cls)
    defaults = cls()
    for field in attrs.fields(cls):
        value = getattr(defaults, field.name)
        if attrs.has(type(value)):
            yield f"``{field.name}``", f"``{type(value).__name__}()``", "See there."
        else:
            yield f"``{field.name}``", _show(field.name, value), docs.get(field.name, "")


def _show(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        return next(f"{value // size} {unit}" for size, unit in _UNITS if value % size == 0)
    return _number(value) + (" s" if name.endswith(_DURATIONS) else "")


def _number(value: Any) -> str:
    """A number in the shortest form, nothing as nothing, all else as code."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"``{value}``"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _field_docs(cls: type) -> Mapping[str, str]:
    """The string below each field, which Python itself forgets."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    docs = {}
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for field, text in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            lines = inspect.cleandoc(str(text.value.value)).splitlines()
            docs[field.target.id] = " ".join(to_rst(lines)).strip()
    return docs
