"""An OCI runtime: from a specification to a running process, as a library."""
