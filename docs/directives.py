"""What our pages can ask for: the table of options, tables of limits, the graph of states."""

from __future__ import annotations

import stategraph
from docutils import nodes  # type: ignore[import-untyped]  # It has no types.
from sphinx.util.docutils import SphinxDirective
from tables import config_class, limit_rows, option_rows, table

__all__ = ["Limits", "OptionTable", "StateGraph"]


class OptionTable(SphinxDirective):
    """All options of the command."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        header = ("Option", "Environment", "Default", "Meaning")
        return self.parse_text_to_nodes("\n".join(table(header, option_rows(), "28 24 18 30")))


class Limits(SphinxDirective):
    """The fields of the class of `smartmob_agent.config` that the argument names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        rows = limit_rows(config_class(self.arguments[0]))
        return self.parse_text_to_nodes(
            "\n".join(table(("Field", "Default", "Meaning"), rows, "26 14 60"))
        )


class StateGraph(SphinxDirective):
    """The drawing of the states; readers of other formats than HTML have the table."""

    def run(self) -> list[nodes.Node]:
        """Return the drawing."""
        return [nodes.raw("", stategraph.draw(), format="html")]
