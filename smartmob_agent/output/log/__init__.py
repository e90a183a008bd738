"""Output that stays: what consoles publish, also on the disk, for as long as it is worth it."""
