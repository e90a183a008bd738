"""What lasts: JSON documents under keys, which are there again after a restart."""
