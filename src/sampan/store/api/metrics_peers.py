"""etcd's metrics of the network between members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sampan.store.shell.peers import PeerTraffic
from sampan.wire.exposition import Family, counter, gauge, histograms

__all__ = ["peer_families"]


def peer_families(traffic: Mapping[int, PeerTraffic], me: int) -> Iterator[Family]:
    """Yield what went to and came from every other member since the start."""
    if not traffic:
        return
    n = "etcd_network_"
    peers = [(f"{member:x}", found) for member, found in sorted(traffic.items())]
    between = [({"Local": f"{me:x}", "Remote": name}, found) for name, found in peers]
    to = [({"To": name}, found) for name, found in peers]
    yield gauge(
        n + "active_peers",
        "Members connected now.",
        [(one, found.active) for one, found in between],
    )
    yield counter(
        n + "disconnected_peers_total",
        "Connections to members that ended.",
        [(one, found.disconnected) for one, found in between],
    )
    yield counter(
        n + "peer_sent_bytes_total",
        "Bytes sent to members.",
        [(one, found.sent_bytes) for one, found in to],
    )
    yield counter(
        n + "peer_received_bytes_total",
        "Bytes received from members.",
        [({"From": name}, found.received_bytes) for name, found in peers],
    )
    yield counter(
        n + "peer_sent_failures_total",
        "Messages to members that were dropped.",
        [(one, found.sent_failures) for one, found in to],
    )
    yield histograms(
        n + "peer_round_trip_time_seconds",
        "Time of a question to a member and its answer.",
        [(one, found.round_trip) for one, found in to],
    )
    yield counter(
        n + "snapshot_send_success",
        "Snapshots sent to members.",
        [(one, found.snapshots_sent) for one, found in to],
    )
    yield counter(
        n + "snapshot_send_failures",
        "Snapshots to members that did not arrive.",
        [(one, found.snapshot_failures) for one, found in to],
    )
