"""ASGI middleware: who may ask, under which name, and what is logged of it."""
