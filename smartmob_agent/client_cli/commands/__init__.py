"""The subcommands of `smartmob`."""
