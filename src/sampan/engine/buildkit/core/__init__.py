"""Decisions of the protocol, without I/O."""
