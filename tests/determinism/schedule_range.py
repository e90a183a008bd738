"""How many orders of tasks are tried of each scenario, and which; also which programs are drawn."""

from __future__ import annotations

import os

SCHEDULES = int(os.environ.get("SMARTMOB_SCHEDULES", "500"))
FIRST_SEED = int(os.environ.get("SMARTMOB_FIRST_SEED", "0"))
