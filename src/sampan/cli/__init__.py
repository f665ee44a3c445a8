"""The `sampan` command: the one place that wires the subsystems together."""
