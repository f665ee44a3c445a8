"""The messages of BuildKit's protocol that are spoken here, generated from the .proto files."""
