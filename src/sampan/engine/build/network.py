"""Networks for the commands of builds: a place of its own in the default bridge for each.

Without root there are no bridges; a command has the machine's network then.
"""

from __future__ import annotations

from sampan.engine.network.core.model import EndpointRequest
from sampan.engine.network.shell.networks import Networks

__all__ = ["BridgeNetwork", "MachineNetwork"]

_OWNER = "build"


class MachineNetwork:
    """No networks to make."""

    shared = True

    async def open(self, key: str) -> str | None:
        """Do nothing."""
        return None

    async def close(self, key: str) -> None:
        """Do nothing."""


class BridgeNetwork:
    """Sandboxes in the default network."""

    shared = False

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    async def open(self, key: str) -> str | None:
        """Make a network; returns the path of its namespace."""
        bridge = self._networks.find("bridge")
        sandbox = await self._networks.open_sandbox(key, [EndpointRequest(bridge.id)], owner=_OWNER)
        return sandbox.path

    async def close(self, key: str) -> None:
        """Take it down."""
        await self._networks.close_sandbox(key)
