"""HTTP/1.1 and WebSockets on one connection, over hypercorn's protocol objects."""
