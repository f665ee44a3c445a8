"""Messages of the gRPC health and reflection services, generated from the .proto files here."""
