"""What our pages can ask for: tables of options, limits and metrics, the graph of states."""

from __future__ import annotations

from types import ModuleType
from typing import ClassVar

import stategraph
import tables
from docutils import nodes  # type: ignore[import-untyped]  # It has no types.
from sphinx.util.docutils import SphinxDirective
from tables import limit_sections, metric_rows, option_sections, table

from smartmob_agent.agent_cli import options
from smartmob_agent.config import setting, settings, types
from smartmob_agent.metrics import catalogue
from smartmob_agent.process import states

__all__ = ["Limits", "MetricTable", "OptionTable", "StateGraph"]


_SETTINGS = (options, setting, settings, tables, types)


class _MadeOfCode(SphinxDirective):
    """Its page is made again after one of the modules has changed."""

    made_of: ClassVar[tuple[ModuleType, ...]]

    def note_modules(self) -> None:
        """Tell Sphinx, which looks at the page alone otherwise."""
        for module in self.made_of:
            self.env.note_dependency(str(module.__file__))


class OptionTable(_MadeOfCode):
    """All options of the command, in the sections of its help."""

    made_of = _SETTINGS

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        self.note_modules()
        text = "\n".join(option_sections())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Limits(_MadeOfCode):
    """A section with a table for each class of `smartmob_agent.config.settings`."""

    made_of = _SETTINGS

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        self.note_modules()
        text = "\n".join(limit_sections())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class MetricTable(_MadeOfCode):
    """All metrics that are the agent's own."""

    made_of = (catalogue, tables)

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        self.note_modules()
        header = ("Metric", "Type", "Labels", "Meaning")
        return self.parse_text_to_nodes("\n".join(table(header, metric_rows(), "36 11 18 35")))


class StateGraph(_MadeOfCode):
    """The drawing of the states; readers of other formats than HTML have the table."""

    made_of = (stategraph, states)

    def run(self) -> list[nodes.Node]:
        """Return the drawing."""
        self.note_modules()
        return [nodes.raw("", stategraph.draw(), format="html")]
