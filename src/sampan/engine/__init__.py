"""The container engine: a runtime, shims that outlive the daemon, networks, and its APIs."""
