"""The command `smartmob-agent`."""
