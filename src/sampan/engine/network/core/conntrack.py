"""Connection tracking by netlink (linux/netfilter/nfnetlink_conntrack.h): which flows to forget.

A flow of datagrams keeps the translation that it began with. When a port is published, or no more,
flows to it have to begin anew.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Final

from sampan.engine.network.core.netlink import ACK, DUMP, Message, attributes, nested

__all__ = ["delete_flow", "flow_to", "list_flows"]

_SUBSYSTEM: Final = 1
_GET, _DELETE = 1, 2
_ORIGINAL, _PROTOCOL = 1, 2
_NUMBER, _DESTINATION_PORT = 1, 3
_UDP: Final = 17


def list_flows() -> Message:
    """Ask for all flows."""
    return Message((_SUBSYSTEM << 8) | _GET, DUMP, bytes(4))


def flow_to(payload: bytes, ports: Collection[int]) -> bytes | None:
    """Return what names a flow, if it is one of datagrams to one of these ports; else None."""
    original = attributes(payload[4:]).get(_ORIGINAL, b"")
    protocol = attributes(attributes(original).get(_PROTOCOL, b""))
    if protocol.get(_NUMBER) != bytes([_UDP]):
        return None
    port = protocol.get(_DESTINATION_PORT, b"\0\0")
    return payload[:1] + original if struct.unpack(">H", port)[0] in ports else None


def delete_flow(flow: bytes) -> Message:
    """Forget a flow that `flow_to` has named."""
    header = flow[:1] + bytes(3)
    return Message((_SUBSYSTEM << 8) | _DELETE, ACK, header + nested(_ORIGINAL, flow[1:]))
