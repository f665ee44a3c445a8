"""Processes, probes, files of the state directory."""
