"""Output: how bytes of a child become lines for any number of clients."""
