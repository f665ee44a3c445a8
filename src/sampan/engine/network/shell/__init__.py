"""Sockets, namespaces and files of container networks."""
