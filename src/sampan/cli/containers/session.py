"""What a command works with: the daemon's client, the caller's environment and configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sampan.engine.client.address import Address, Tls, daemon_address
from sampan.engine.client.client import Client
from sampan.engine.client.containers import Containers

if TYPE_CHECKING:
    from sampan.engine.client.credentials import Credentials
    from sampan.engine.client.images import Images
    from sampan.engine.client.networks import Networks
    from sampan.engine.client.system import System
    from sampan.engine.client.volumes import Volumes

__all__ = ["Session"]


class Session:
    """One run of a command; nothing is connected or imported before it is asked for."""

    def __init__(
        self,
        environment: Mapping[str, str],
        host: str = "",
        tls: Tls | None = None,
        config_directory: str = "",
    ) -> None:
        self.environment = environment
        self.config_directory = (
            config_directory
            or environment.get("DOCKER_CONFIG")
            or os.path.join(os.path.expanduser("~"), ".docker")
        )
        self._host = host
        self._tls = tls
        self._client: Client | None = None

    def close(self) -> None:
        """Close what was connected."""
        if self._client is not None:
            self._client.close()

    @property
    def address(self) -> Address:
        """Where the daemon is."""
        return daemon_address(self.environment, self._host, self._tls)

    @property
    def client(self) -> Client:
        """The client; InvalidError when the address cannot be right."""
        if self._client is None:
            version = self.environment.get("DOCKER_API_VERSION", "")
            self._client = Client(self.address, version)
        return self._client

    @property
    def containers(self) -> Containers:
        """Calls about containers."""
        return Containers(self.client)

    @property
    def images(self) -> Images:
        """Calls about images."""
        from sampan.engine.client.images import Images

        return Images(self.client)

    @property
    def networks(self) -> Networks:
        """Calls about networks."""
        from sampan.engine.client.networks import Networks

        return Networks(self.client)

    @property
    def volumes(self) -> Volumes:
        """Calls about volumes."""
        from sampan.engine.client.volumes import Volumes

        return Volumes(self.client)

    @property
    def system(self) -> System:
        """Calls about the daemon."""
        from sampan.engine.client.system import System

        return System(self.client)

    @property
    def credentials(self) -> Credentials:
        """What the caller's configuration knows of registries."""
        from sampan.engine.client.credentials import Credentials

        return Credentials(self.config_directory)
