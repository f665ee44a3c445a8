"""Carrying out a build: contexts, copies, the cache of results, and the solver.

What has to be done was decided in `images.core.build`. Commands are run by an `Executor` that the
caller brings: this room knows no containers.
"""
