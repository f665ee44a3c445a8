"""Bridges, endpoints, published ports and names for containers."""
