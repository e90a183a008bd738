"""The programs of the built-in builders: each runs as a child, with the standard library alone."""
