"""smartmob-agent: runs twelve-factor apps remotely, in a trio nursery."""
