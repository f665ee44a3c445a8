"""Builds in the engine: commands as containers, and images made of their results.

`service` knows how a build goes, `executor` runs its commands, `transcript` is what the classic
builder's clients read. The decisions are in `images.core.build`, the work on files in
`images.build`.
"""
