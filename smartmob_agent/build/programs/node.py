"""Installs what a Node app needs by npm, and runs its build script.

Development dependencies are installed for the script and removed after it, as on Heroku.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from smartmob_agent.build.programs.steps import (
    BuildFailedError,
    run,
    run_program,
    tell,
    write_variable,
)

__all__ = ["build"]

LOCK_FILES = ("package-lock.json", "npm-shrinkwrap.json")

SCRIPTS = ("heroku-postbuild", "build")
"""The first that there is counts."""

PRODUCTION = "production"


def build(app: Path, env: Path, cache: Path) -> None:
    """Install and build; raises `BuildFailedError`."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise BuildFailedError(
            "package.json needs Node.js and npm: install them (Debian: apt install nodejs npm) so "
            "that they are on the PATH of the agent"
        )
    scripts = _scripts(app)
    os.environ.update(_settings(cache))
    lock = next((name for name in LOCK_FILES if (app / name).exists()), None)
    if lock is not None:
        tell(f"Installing by npm what {lock} says")
        run([npm, "ci", "--include=dev"])
    else:
        tell("Installing by npm what package.json says: there is no package-lock.json")
        run([npm, "install", "--include=dev"])
    script = next((name for name in SCRIPTS if name in scripts), None)
    if script is not None:
        tell(f"Running the script {script!r}")
        run([npm, "run", script])
    if os.environ.get("NODE_ENV", PRODUCTION) == PRODUCTION and (app / "node_modules").is_dir():
        run([npm, "prune", "--omit=dev", "--ignore-scripts"])
    write_variable(env, "NODE_ENV", PRODUCTION)
    write_variable(env, "PATH.prepend", "$APP_DIR/node_modules/.bin")


def _scripts(app: Path) -> dict[str, Any]:
    try:
        document = json.loads((app / "package.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise BuildFailedError(f"package.json cannot be read: {exc}") from exc
    scripts = document.get("scripts", {}) if isinstance(document, dict) else None
    if not isinstance(scripts, dict):
        raise BuildFailedError("package.json: expected an object, and one of 'scripts' in it")
    return scripts


def _settings(cache: Path) -> dict[str, str]:
    """Variables for npm."""
    return {
        "npm_config_audit": "false",
        "npm_config_cache": str(cache / "npm"),
        "npm_config_fund": "false",
        "npm_config_progress": "false",
        "npm_config_update_notifier": "false",
    }


if __name__ == "__main__":  # pragma: no cover  -- in a program of its own
    run_program(build)
