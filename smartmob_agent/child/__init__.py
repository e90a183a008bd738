"""Children: how an operating-system process is started, watched and ended."""
