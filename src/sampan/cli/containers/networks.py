"""Networks: create, list, remove, connect, disconnect."""

from __future__ import annotations

import sys

from sampan.base.errors import SampanError
from sampan.cli.containers.command import Command, Failure
from sampan.cli.containers.core.flags import Flag, Parsed
from sampan.cli.containers.core.kinds import BOOL, INTEGER, STRING
from sampan.cli.containers.core.kinds import LIST as TEXTS
from sampan.cli.containers.core.network_body import connection, network
from sampan.cli.containers.core.rows import network_row
from sampan.cli.containers.listing import FILTERS, FORMAT, NO_TRUNC, QUIET, natural, output
from sampan.cli.containers.session import Session
from sampan.engine.client.client import ApiError

__all__ = ["CONNECT", "CREATE", "DISCONNECT", "LIST", "REMOVE"]


def _create(session: Session, parsed: Parsed) -> int:
    made = session.networks.create(network(parsed))
    if made.get("Warning"):
        print(f"WARNING: {made['Warning']}", file=sys.stderr)
    print(made["Id"])
    return 0


def _list(session: Session, parsed: Parsed) -> int:
    found = session.networks.list(parsed.each("filter"))
    rows = [network_row(one, not parsed.on("no-trunc")) for one in found]
    rows.sort(key=lambda row: natural(row["Name"]))
    output(parsed, "network", rows, "ID")
    return 0


def _remove(session: Session, parsed: Parsed) -> int:
    failed = False
    for name in parsed.arguments:
        try:
            session.networks.remove(name)
        except SampanError as error:
            absent = isinstance(error, ApiError) and error.status == 404
            if not (absent and parsed.on("force")):
                print(error, file=sys.stderr)
                failed = True
            continue
        print(name)
    if failed:
        raise Failure("exit status 1")
    return 0


def _connect(session: Session, parsed: Parsed) -> int:
    name, container = parsed.arguments
    session.networks.connect(name, container, connection(parsed))
    return 0


def _disconnect(session: Session, parsed: Parsed) -> int:
    name, container = parsed.arguments
    session.networks.disconnect(name, container, parsed.on("force"))
    return 0


CREATE = Command(
    "[OPTIONS] NETWORK",
    _create,
    (
        Flag("attachable", BOOL, "Enable manual container attachment"),
        Flag("aux-address", TEXTS, "Auxiliary addresses used by the network driver"),
        Flag("config-from", STRING, "The network from which to copy the configuration"),
        Flag("config-only", BOOL, "Create a configuration only network"),
        Flag("driver", STRING, "Driver to manage the network", "d", "bridge"),
        Flag("gateway", TEXTS, "IPv4 or IPv6 gateway for the subnet"),
        Flag("ingress", BOOL, "Create swarm routing-mesh network"),
        Flag("internal", BOOL, "Restrict external access to the network"),
        Flag("ip-range", TEXTS, "Allocate container ip from a sub-range"),
        Flag("ipam-driver", STRING, "IP Address Management Driver", "", "default"),
        Flag("ipam-opt", TEXTS, "Set IPAM driver specific options"),
        Flag("ipv4", BOOL, "Enable or disable IPv4 address assignment", default=True),
        Flag("ipv6", BOOL, "Enable or disable IPv6 address assignment"),
        Flag("label", TEXTS, "Set metadata on a network"),
        Flag("opt", TEXTS, "Set driver specific options", "o"),
        Flag("scope", STRING, "Control the network's scope"),
        Flag("subnet", TEXTS, "Subnet in CIDR format that represents a network segment"),
    ),
    least=1,
    most=1,
)
LIST = Command("[OPTIONS]", _list, (FILTERS, FORMAT, NO_TRUNC, QUIET), most=0)
REMOVE = Command(
    "NETWORK [NETWORK...]",
    _remove,
    (Flag("force", BOOL, "Do not error if the network does not exist", "f"),),
    least=1,
)
CONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _connect,
    (
        Flag("alias", TEXTS, "Add network-scoped alias for the container"),
        Flag("driver-opt", TEXTS, "driver options for the network"),
        Flag("gw-priority", INTEGER, "Highest gw-priority provides the default gateway"),
        Flag("ip", STRING, 'IPv4 address (e.g., "172.30.100.104")'),
        Flag("ip6", STRING, 'IPv6 address (e.g., "2001:db8::33")'),
        Flag("link", TEXTS, "Add link to another container"),
        Flag("link-local-ip", TEXTS, "Add a link-local address for the container"),
    ),
    least=2,
    most=2,
)
DISCONNECT = Command(
    "[OPTIONS] NETWORK CONTAINER",
    _disconnect,
    (Flag("force", BOOL, "Force the container to disconnect from a network", "f"),),
    least=2,
    most=2,
)
