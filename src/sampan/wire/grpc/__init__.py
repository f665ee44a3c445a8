"""gRPC over HTTP/2: message framing, status, metadata, timeouts, health and reflection."""
