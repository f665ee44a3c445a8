"""Processes, probes, files of the state directory."""

__all__: list[str] = []
