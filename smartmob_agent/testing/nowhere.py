"""Where all fake files are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NOWHERE"]

NOWHERE = Path("/nonexistent")
"""The directory of all fake files, which does not exist."""
