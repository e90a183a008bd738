"""Asks for the fixtures that come with smartmob-agent."""

from __future__ import annotations

pytest_plugins = ["smartmob_agent.testing.plugin"]
