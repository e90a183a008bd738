"""What our pages can ask for: tables of options, limits and metrics, the graph of states."""

from __future__ import annotations

import stategraph
from docutils import nodes  # type: ignore[import-untyped]  # It has no types.
from sphinx.util.docutils import SphinxDirective
from tables import limit_sections, metric_rows, option_sections, table

__all__ = ["Limits", "MetricTable", "OptionTable", "StateGraph"]


class OptionTable(SphinxDirective):
    """All options of the command, in the sections of its help."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        text = "\n".join(option_sections())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Limits(SphinxDirective):
    """A section with a table for each class of `smartmob_agent.config.settings`."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        text = "\n".join(limit_sections())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class MetricTable(SphinxDirective):
    """All metrics that are the agent's own."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        header = ("Metric", "Type", "Labels", "Meaning")
        return self.parse_text_to_nodes("\n".join(table(header, metric_rows(), "36 11 18 35")))


class StateGraph(SphinxDirective):
    """The drawing of the states; readers of other formats than HTML have the table."""

    def run(self) -> list[nodes.Node]:
        """Return the drawing."""
        return [nodes.raw("", stategraph.draw(), format="html")]
