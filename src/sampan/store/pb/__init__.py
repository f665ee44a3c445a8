"""Messages of the etcd v3 API, generated from the .proto files here."""
