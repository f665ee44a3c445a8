"""What somebody was told about registries: mirrors, exceptions from TLS, bounds, proxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["RegistryOptions"]


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How images are pulled and pushed; who has one asks for it at the moment of use."""

    mirrors: Sequence[str] = ()
    """URLs that end with a slash, tried before Docker Hub."""

    insecure: Sequence[str] = ()
    """Hosts (with port) and networks in CIDR form that may speak HTTP or show any certificate."""

    max_concurrent_downloads: int = 3
    """How many layers come at once."""

    max_concurrent_uploads: int = 5
    """How many layers go at once."""

    max_download_attempts: int = 5
    """How often a layer is tried without getting on."""

    http_proxy: str = ""
    """The proxy for http, empty for that of the environment."""

    https_proxy: str = ""
    no_proxy: str = ""
