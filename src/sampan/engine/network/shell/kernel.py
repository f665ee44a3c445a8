"""What the engine makes in the kernel, in the network namespace that it runs in."""

from __future__ import annotations

from collections.abc import Collection

from sampan.engine.network.shell.bridges import Bridges
from sampan.engine.network.shell.netlink import NetlinkSocket
from sampan.engine.network.shell.plugs import Plugs
from sampan.engine.network.shell.rules import PacketRules

__all__ = ["Kernel"]


class Kernel:
    """Bridges, plugs and packet rules over shared sockets. Its calls block; one thread only.

    `mark` tells this engine's devices from others; `families` are those that get packet rules.
    """

    def __init__(self, mark: str, families: Collection[int]) -> None:
        self._route = NetlinkSocket()
        self.rules = PacketRules(families)
        self.bridges = Bridges(self._route, mark, lambda: self.rules.leads(4))
        self.plugs = Plugs(self._route, self.bridges)

    def close(self) -> None:
        """Close the sockets; what was made stays."""
        self._route.close()
        self.rules.close()
