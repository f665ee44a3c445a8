"""OCI images: content by digest, layers and snapshots, registries and archives."""
