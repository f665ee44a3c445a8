"""The descriptor pool that every message type of Sampan lives in."""

from __future__ import annotations

from google.protobuf.descriptor_pool import DescriptorPool

__all__ = ["POOL"]

# Not the process-wide default pool: two libraries with an `etcdserverpb.PutRequest` of their own
# would collide there at import time.
POOL = DescriptorPool()
