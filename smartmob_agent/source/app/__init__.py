"""An app's files: where they are, what its Procfile says."""
