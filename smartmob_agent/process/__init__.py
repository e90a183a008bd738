"""Processes: their states, their life, and the supervisor that owns them."""
