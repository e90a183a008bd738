"""Archives from the network."""
