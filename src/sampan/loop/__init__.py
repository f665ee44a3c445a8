"""Real I/O: the event loop, connections, TLS, disk and clock that the pure cores run on."""
