"""Calls to the engine and the store, and reading the source directory."""
