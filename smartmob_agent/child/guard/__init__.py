"""The other program: it outlives the agent, and imports only the standard library and itself."""
