"""Tables in reStructuredText, made of the code that they describe."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence

import attrs
from docstrings import to_rst

from smartmob_agent.agent_cli.options import OPTIONS
from smartmob_agent.config import settings as config
from smartmob_agent.config.setting import Setting, settings_of
from smartmob_agent.metrics.catalogue import ALL

__all__ = ["limit_rows", "limit_sections", "metric_rows", "option_row", "option_sections", "table"]


def table(header: Sequence[str], rows: Iterable[Sequence[str]], widths: str) -> list[str]:
    """Return the lines of a `list-table`.

    widths: of the columns, in percent, as the directive takes them.
    """
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [header, *rows]:
        for number, cell in enumerate(row):
            lines.append(f"     - {cell}" if number else f"   * - {cell}")
    return lines


def option_sections() -> Iterator[str]:
    """The lines of a section for each section of the help of the command."""
    for section, members in itertools.groupby(OPTIONS, key=lambda one: one.info.section):
        yield from (section, "~" * len(section), "")
        header = ("Option", "Environment", "Default", "Meaning")
        yield from table(header, map(option_row, members), "28 24 18 30")
        yield ""


def option_row(option: Setting) -> Sequence[str]:
    """Option, variable, default and meaning of an option of the command."""
    return (
        f"``{option.flag} {option.info.metavar}``",
        f"``{option.variable}``",
        _default(option),
        _escape(option.info.help),
    )


def metric_rows() -> Iterator[Sequence[str]]:
    """Name, type, labels and help of each metric that is the agent's own."""
    for metric in ALL:
        labels = ", ".join(f"``{label}``" for label in metric.labels)
        yield f"``{metric.name}``", metric.kind.value, labels or "none", metric.help


def _default(one: Setting) -> str:
    if one.default is None or one.default == ():
        return one.info.default_in_words
    return f"``{one.shown_default}``"


def _escape(text: str) -> str:
    """Let no star begin an emphasis."""
    return " ".join(to_rst([text.replace("*", r"\*")])).strip()


def limit_sections() -> Iterator[str]:
    """The lines of a section for each class of the settings, the agent's first."""
    names = sorted(config.__all__, key=lambda name: (name != "AgentConfig", name))
    for name in names:
        cls: type[attrs.AttrsInstance] = getattr(config, name)
        docstring = inspect.cleandoc(cls.__doc__ or "").split("\n")
        yield from (name, "-" * len(name), "", *to_rst(docstring), "")
        header = ("Field", "Default", "Option", "Meaning")
        yield from table(header, limit_rows(cls), "24 14 22 40")
        yield ""


def limit_rows(cls: type[attrs.AttrsInstance]) -> Iterator[Sequence[str]]:
    """Name, default, option and meaning of each field of a class of the settings."""
    own = {one.field: one for one in settings_of(cls) if not one.group}
    defaults = cls()
    for field in attrs.fields(cls):
        if (one := own.get(field.name)) is None:
            inner = type(getattr(defaults, field.name)).__name__
            yield f"``{field.name}``", f"``{inner}()``", "", "See there."
            continue
        option, meaning = f"``{one.flag}``", _escape(one.info.help)
        if not one.has_option:
            option, meaning = "none", f"{meaning}  {_escape(one.info.why_no_option)}"
        yield f"``{field.name}``", _default(one), option, meaning
