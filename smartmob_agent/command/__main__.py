"""`python -m smartmob_agent.command` is `smartmob`."""

from __future__ import annotations

import sys

from smartmob_agent.command.start import main

sys.exit(main())
