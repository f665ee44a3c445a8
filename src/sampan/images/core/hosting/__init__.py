"""The server's side of OCI distribution 1.1, decided without I/O: paths, errors, ranges, access."""
