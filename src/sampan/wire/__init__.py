"""Bytes to values and back: HTTP/2, gRPC, protobuf. Sans-IO: no sockets, clocks or files here."""
