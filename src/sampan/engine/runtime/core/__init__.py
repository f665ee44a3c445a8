"""Specification in, ordered steps out; filters and cgroup writes as values. Pure, no I/O."""
