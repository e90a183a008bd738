"""What the log of a process was: times in a query, and answers from the disk."""
