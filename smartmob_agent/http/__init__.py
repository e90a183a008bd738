"""HTTP: connections, routes, documents."""
