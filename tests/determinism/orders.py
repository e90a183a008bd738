"""How many orders of tasks are tried of each scenario, and which."""

from __future__ import annotations

import os

SCHEDULES = int(os.environ.get("SMARTMOB_SCHEDULES", "500"))
FIRST_SEED = int(os.environ.get("SMARTMOB_FIRST_SEED", "0"))
