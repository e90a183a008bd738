"""Directories, space and removal."""
