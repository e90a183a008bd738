"""What the agent says over HTTP: routes, documents, streams."""
