"""Pods, containers and images of CRI upon the engine."""
