"""`python -m smartmob_agent` is the same as `smartmob-agent`."""

import sys

from smartmob_agent.agent_cli.start import main

sys.exit(main())
