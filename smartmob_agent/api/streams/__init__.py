"""Streams of output and events, and what was written before."""
