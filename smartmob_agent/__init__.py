"""smartmob-agent: runs twelve-factor apps remotely, in a trio nursery.

::

    agent = await nursery.start(smartmob_agent.serve, smartmob_agent.AgentConfig(port=0))

Names are loaded when they are first asked for (PEP 562): a program that only imports
`smartmob_agent.client` loads no server, which takes a second.
"""

from __future__ import annotations

import importlib
import os


def _read_homes() -> dict[str, str]:
    """Read the stub beside this file, name → module: it is what type checkers read, too."""
    path = os.path.join(os.path.dirname(__file__), "__init__.pyi")  # noqa: PTH118, PTH120  # quick
    homes, home = {}, ""
    # By the loader, which may have the package in an archive.
    for line in __spec__.loader.get_data(path).decode().splitlines():
        match line.split():
            case ["from", home, *_]:
                pass
            case [name, "as", _]:
                homes[name] = home
    return homes


_HOMES = _read_homes()
__all__ = sorted(_HOMES)  # Type checkers read the stub.


def __getattr__(name: str) -> object:
    """Load what was asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
