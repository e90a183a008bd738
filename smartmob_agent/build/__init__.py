"""Builds: what an app needs is installed once, kept, and copied for each process."""
