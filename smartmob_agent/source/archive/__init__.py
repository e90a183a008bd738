"""Archives to files."""
