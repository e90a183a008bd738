"""Trees of files that are kept under a key, and copies of them."""
