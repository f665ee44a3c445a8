"""Where a sandbox's questions for names arrive: sockets in its namespace, and the way to them."""

from __future__ import annotations

import errno
import logging
import socket
from dataclasses import dataclass
from typing import Final

from sampan.engine.network.core import ruleset
from sampan.engine.network.core.nftables import IPV4, batch, elements, empty_map, make_table
from sampan.engine.network.shell.netlink import NETFILTER, NetlinkError, NetlinkSocket

__all__ = ["NAMES_ADDRESS", "ResolverSockets", "open_resolver"]

_LOG = logging.getLogger(__name__)
NAMES_ADDRESS: Final = "127.0.0.11"
_NAMES_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class ResolverSockets:
    """For datagrams and for connections."""

    udp: socket.socket
    tcp: socket.socket

    def close(self) -> None:
        """Close both."""
        self.udp.close()
        self.tcp.close()


def open_resolver() -> ResolverSockets:
    """Open the sockets in the thread's present namespace, and lead port 53 to them.

    A program in there may so have a port 53 of its own. Without nf_tables the sockets take it.
    """
    found = _listen(0)
    try:
        _lead_to(found.udp.getsockname()[1], found.tcp.getsockname()[1])
    except OSError as error:
        _LOG.debug("no packet rules in a container's network: %s", error)
        found.close()
        found = _listen(_NAMES_PORT)
    return found


def _listen(port: int) -> ResolverSockets:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    found = ResolverSockets(udp, tcp)
    try:
        udp.bind((NAMES_ADDRESS, port))
        tcp.bind((NAMES_ADDRESS, port))
        tcp.listen(16)
    except BaseException:
        found.close()
        raise
    return found


def _lead_to(udp_port: int, tcp_port: int) -> None:
    """Send questions for port 53 of the present namespace to the sockets at these ports."""
    servers = ruleset.resolver_servers(NAMES_ADDRESS, udp_port, tcp_port)
    name = ruleset.RESOLVER_TABLE
    added = elements(name, IPV4, servers)
    rules = NetlinkSocket(NETFILTER)
    try:
        table = make_table(ruleset.resolver_table(NAMES_ADDRESS), replace=False)
        rules.transact(batch([*table, *added]))
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        rules.transact(batch([*empty_map(name, IPV4, servers.map), *added]))
    finally:
        rules.close()
