"""The gRPC services of CRI."""
