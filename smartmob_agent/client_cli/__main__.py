"""`python -m smartmob_agent.client_cli` is `smartmob`."""

from __future__ import annotations

import sys

from smartmob_agent.client_cli.start import main

sys.exit(main())
