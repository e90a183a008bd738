"""The entry point of `smartmob`, also as `python -m smartmob_agent.client_cli`."""

from __future__ import annotations

import sys

__all__ = ["main"]

_UNUSED = ("httpx._main", "h2")
"""Optional imports of httpx and httpcore: the command line of httpx, with rich, takes 0.1 s, and
HTTP/2, which the client does not use, 15 ms."""


def main() -> int:
    """Run the command line and return the exit code."""
    for name in _UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: it is not found
    try:
        # Imported in here: that takes a while, in which CTRL-C may come.
        from smartmob_agent.client_cli import cli, output

        output.open_std_streams()
        return cli.main()
    except KeyboardInterrupt:
        from smartmob_agent.client_cli.output import report_ctrl_c

        report_ctrl_c("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
