"""The command `smartmob`, which drives agents by `smartmob_agent.client`."""
