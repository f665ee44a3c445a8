"""State directory, hooks, gate and terminal: what touches the machine."""
