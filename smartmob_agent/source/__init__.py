"""Sources: how an app comes from a URL to files, a command and an environment."""
