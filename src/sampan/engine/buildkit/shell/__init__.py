"""Sessions, contexts, builds and results."""
