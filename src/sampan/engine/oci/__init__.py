"""An OCI runtime without a daemon: bundles, a state directory, and the life of each container."""
