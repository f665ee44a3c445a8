"""Registries: pulling and pushing by the OCI distribution protocol. HTTP is imported lazily."""
