"""An HTTP/2 connection (RFC 9113) as a state machine: bytes in, events and bytes out."""
