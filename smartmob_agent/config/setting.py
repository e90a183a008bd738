"""An option of the command and the environment variable that stands in for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["Option"]


@attrs.frozen(kw_only=True)
class Option:
    """An option, and the environment variable that stands in for it.

    name: without the dashes; the variable is `SMARTMOB_` and the name in capitals.
    parse: text → value; raises `argparse.ArgumentTypeError`.
    default: the value when neither is given.
    group: the field of `AgentConfig` that has the value as one of its own fields, if any.
    field: of the config, if it is not named as the option is.
    default_in_words: of a default that is nothing.
    many: may be given more than once; the variable has commas between the values.
    switch: may be given without a value, which means yes.
    """

    name: str
    metavar: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    group: str = ""
    field: str = ""
    default_in_words: str = "none"
    many: bool = False
    switch: bool = False

    @property
    def shown_default(self) -> str:
        """The default in words."""
        if self.default is None or self.default == ():
            return self.default_in_words
        if self.switch:
            return "yes" if self.default else "no"
        return str(self.default)

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return "SMARTMOB_" + self.name.upper().replace("-", "_")

    @property
    def key(self) -> str:
        """The field of the config."""
        return self.field or self.name.replace("-", "_")
