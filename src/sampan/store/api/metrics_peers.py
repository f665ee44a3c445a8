"""etcd's metrics of the network between members."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sampan.store.shell.peers import PeerTraffic
from sampan.wire.exposition import Family, Labels, Number, counter, gauge, histograms

__all__ = ["peer_families"]


def peer_families(traffic: Mapping[int, PeerTraffic], me: int) -> Iterator[Family]:
    """Yield what went to and came from every other member since the start."""
    if not traffic:
        return
    n, peers = "etcd_network_", sorted(traffic.items())

    def each(label: str, figure: Callable[[PeerTraffic], Number]) -> list[tuple[Labels, Number]]:
        return [({label: f"{member:x}"}, figure(found)) for member, found in peers]

    def between(figure: Callable[[PeerTraffic], Number]) -> list[tuple[Labels, Number]]:
        local = {"Local": f"{me:x}"}
        return [({**local, **labels}, number) for labels, number in each("Remote", figure)]

    for name, text, samples in (
        (
            "disconnected_peers_total",
            "Connections to members that ended.",
            between(lambda one: one.disconnected),
        ),
        (
            "peer_received_bytes_total",
            "Bytes received from members.",
            each("From", lambda one: one.received_bytes),
        ),
        ("peer_sent_bytes_total", "Bytes sent to members.", each("To", lambda one: one.sent_bytes)),
        (
            "peer_sent_failures_total",
            "Messages to members that were dropped.",
            each("To", lambda one: one.sent_failures),
        ),
        (
            "snapshot_send_success",
            "Snapshots sent to members.",
            each("To", lambda one: one.snapshots_sent),
        ),
        (
            "snapshot_send_failures",
            "Snapshots to members that did not arrive.",
            each("To", lambda one: one.snapshot_failures),
        ),
    ):
        yield counter(n + name, text, samples)
    yield gauge(n + "active_peers", "Members connected now.", between(lambda one: one.active))
    yield histograms(
        n + "peer_round_trip_time_seconds",
        "Time of a question to a member and its answer.",
        [({"To": f"{member:x}"}, found.round_trip) for member, found in peers],
    )
