"""How the documentation is built; tables and drawings come from the code itself."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))  # The modules below lie beside this file.

from directives import Limits, MetricTable, OptionTable, StateGraph
from docstrings import to_rst

project = "smartmob-agent"
author = "The smartmob-agent authors"
copyright = "The smartmob-agent authors"
version = release = importlib.metadata.version("smartmob-agent")

extensions = ["sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"smartmob-agent {release}"
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
nitpicky = True
nitpick_ignore_regex = [
    # Other projects and Python itself: their pages are on the network, and a build needs none.
    (r"py:.*", r"trio\..*"),
    (r"py:.*", rf"({'|'.join(sys.stdlib_module_names)})(\..*)?"),
    # What is private has no page.
    (r"py:.*", r"smartmob_agent\.[a-z]+\..*"),
    # Names that annotations have and no page of ours.
    (r"py:.*", r"(Path|datetime|Mapping|Sequence|Iterable|Iterator|signal\.Signals|State)"),
    # Annotations of a class whose base is in another module are not resolved.
    (
        r"py:.*",
        r"(Preparation|Services|Backoff|Termination|PortLease|Ports|LocalNetwork|ProcessRecord|KeptProcess|StateStore)",
    ),
]


def _process_docstring(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    lines[:] = to_rst(lines)


def setup(app: Sphinx) -> None:
    """Tell Sphinx what is our own."""
    app.connect("autodoc-process-docstring", _process_docstring)
    app.add_directive("smartmob-options", OptionTable)
    app.add_directive("smartmob-limits", Limits)
    app.add_directive("smartmob-metrics", MetricTable)
    app.add_directive("smartmob-states", StateGraph)
