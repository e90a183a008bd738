"""The command `smartmob`, which drives agents by `smartmob_agent.client`.

Help, completion and usage errors come at once, because what takes long to import is imported only
when a command runs: trio and the client inside functions, and `settings`, `source` and `terminal`
by the functions that need them.
"""
