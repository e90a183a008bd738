"""Archives that are kept."""
