"""SPDY/3.1, the framing under Kubernetes exec, attach and port forwarding. Pure, no I/O."""
