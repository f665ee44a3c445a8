"""The protocol surface of the store: one module a gRPC service, and the JSON gateway."""
