"""The versions this server reports of itself.

They name the release of the v3 API whose behaviour is implemented: clients switch features on by
them (a Kubernetes API server asks for watch progress only from 3.5.13 on).
"""

from __future__ import annotations

__all__ = ["CLUSTER_VERSION", "MIN_CLUSTER_VERSION", "SERVER_VERSION", "STORAGE_VERSION"]

SERVER_VERSION = "3.6.11"
"""What Status and `/version` answer."""

CLUSTER_VERSION = "3.6.0"
"""The version all members of the cluster speak: major and minor of the server's."""

MIN_CLUSTER_VERSION = "3.0.0"
"""The oldest cluster this server would join."""

STORAGE_VERSION = "3.6.0"
"""The schema version of the data: which fields and buckets the state may hold."""
