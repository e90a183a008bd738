"""The guard as it runs on a system without a subreaper, pidfds, or a /proc that lists children."""

import importlib
import os
import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[4] / "smartmob_agent"

if __name__ == "__main__":
    sys.platform = "darwin"
    del os.pidfd_open
    sys.path.append(str(PACKAGE / "child"))  # as the guard does it; -ISE leaves no other way
    kernel = importlib.import_module("guard.kernel")
    vars(kernel)["children"] = lambda _: []
    runpy.run_path(str(PACKAGE / "child" / "guard" / "zygote.py"), run_name="__main__")
