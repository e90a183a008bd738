"""Apps: what is wanted of many processes at once, and how they are brought to it."""
